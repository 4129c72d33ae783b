// The streams that come in the response to a question, behind its turn: the turn's wire reads them, as if it had asked.

// Responses by the id of their wire, each until its wire asks for it.
const responses = new Map();

// Milliseconds after which a stream is closed that no wire has taken: its turn is not on the page.
const UNCLAIMED = 2000;

const END = "\n\n"; // of a message

export const takeStream = ({ id }) => {
  const response = responses.get(id);
  responses.delete(id);
  return response;
};

// Returns the first message of a response that is a stream, the turn's HTML, as a response of its own; others as they are.
export const splitStream = async (response) => {
  if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) return response;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const text = await readMessage(reader);
  const [message] = text.split(END, 1);
  const html = message.replace(/^data: /gm, "");
  const wire = /id="(wire-[^"]+)"/.exec(html)?.[1];
  // Without the other headers: with each message htmx would push the HX-Push-Url of the turn into the browser's history.
  const rest = { status: response.status, headers: { "Content-Type": "text/event-stream" } };
  responses.set(wire, new Response(goOn(reader, text.slice(message.length + END.length)), rest));
  setTimeout(() => responses.delete(wire) && reader.cancel(), UNCLAIMED);
  const headers = new Headers(response.headers);
  headers.set("Content-Type", "text/html");
  return new Response(html, { status: response.status, headers });
};

// The first message, and what came with it.
const readMessage = async (reader) => {
  for (let text = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) throw new TypeError("The stream ended before its first message.");
    text += value;
    if (text.includes(END)) return text;
  }
};

const goOn = (reader, first) =>
  new ReadableStream({
    start: (controller) => controller.enqueue(first),
    pull: async (controller) => {
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  }).pipeThrough(new TextEncoderStream());
