// The streams that come in the response to a question, behind its turn: the turn's wire reads them, as if it had asked.

// Responses by the id of their wire, each until its wire asks for it.
const responses = new Map();

// Milliseconds until a stream is closed whose turn is not on the page: its wire would have asked at once.
const UNCLAIMED = 2000;

const LINE_FEED = 10;

export const takeStream = ({ id }) => {
  const response = responses.get(id);
  responses.delete(id);
  return response;
};

// A response that is a stream gives its first message, the turn's HTML, as a response of its own.
export const splitStream = async (response) => {
  if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) return response;
  const reader = response.body.getReader();
  const [message, rest] = await readMessage(reader);
  const html = message.replace(/^data: /gm, "");
  const wire = /id="(wire-[^"]+)"/.exec(html)?.[1];
  responses.set(wire, new Response(goOn(reader, rest), response));
  setTimeout(() => responses.delete(wire) && reader.cancel(), UNCLAIMED);
  const headers = new Headers(response.headers);
  headers.set("Content-Type", "text/html");
  return new Response(html, { status: response.status, headers });
};

// The first message as text, and the bytes that came behind it.
const readMessage = async (reader) => {
  let bytes = new Uint8Array();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new TypeError("The stream ended before its first message.");
    const joined = new Uint8Array(bytes.length + value.length);
    joined.set(bytes);
    joined.set(value, bytes.length);
    bytes = joined;
    const end = bytes.findIndex((byte, at) => byte === LINE_FEED && bytes[at + 1] === LINE_FEED);
    if (end >= 0) return [new TextDecoder().decode(bytes.subarray(0, end)), bytes.subarray(end + 2)];
  }
};

const goOn = (reader, first) =>
  new ReadableStream({
    start: (controller) => first.length && controller.enqueue(first),
    pull: async (controller) => {
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
