// workerd, Deno, Bun: an image somewhere on the network as a response, in bounded memory.
import { convertToStream } from "blockcore/edge";

export default {
  async fetch(request) {
    // readme: edge
    const source = new URL(new URL(request.url).searchParams.get("image"));
    const { length, stream } = await convertToStream(source, { format: "raw", signal: request.signal });
    return new Response(stream, { headers: { "content-type": "application/octet-stream", "content-length": String(length) } });
    // readme: end
  },
};
