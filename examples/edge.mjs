// workerd, Deno, Bun: an image somewhere on the network as a response, in bounded memory.
import { convert, open, streamSink } from "blockcore/edge";

export default {
  async fetch(request) {
    // readme: edge
    const image = await open(new URL(new URL(request.url).searchParams.get("image")));
    const { readable, writable } = new TransformStream();
    const sink = streamSink(writable);
    convert(image, sink, { format: "raw" })
      .then(() => sink.finish())
      .catch(() => sink.async.close()) // unfinished: the reader of the response sees it break off
      .finally(() => image.close());
    return new Response(readable, { headers: { "content-type": "application/octet-stream" } });
    // readme: end
  },
};
