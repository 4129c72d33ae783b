// The elements of the page that more than one module uses, and how events and storage are reached.

export const byId = (id) => document.getElementById(id);

export const composer = byId("composer");
export const box = byId("content");
export const error = byId("composer-error");
export const scroller = byId("scroller");
export const thread = byId("thread");

// The element that connects a live answer to its stream; a finished answer has none.
export const wire = () => document.querySelector(".wire");
export const wires = () => document.querySelectorAll(".wire");

export const on = (names, handle, options) =>
  names.split(" ").forEach((name) => document.addEventListener(name, handle, options));

// The conversation that the page shows; "" before its first question.
export const conversation = () => byId("id_conversation")?.value ?? "";

// The id of the last answer that the page shows; "" where there is none.
export const lastAnswer = () => thread.querySelector(".turn:last-child > .answer")?.id.replace("answer-", "") ?? "";

// Keys of an input method are its own: Enter takes its suggestion, Escape drops it. Safari ends the composition before
// it tells of the key, and then only the key code says so.
export const isComposing = (event) => event.isComposing || event.keyCode === 229;

export const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

// A browser may refuse storage altogether; then nothing is kept.
export const stored = (use) => {
  try {
    return use(sessionStorage);
  } catch {
    return null;
  }
};

// Handles each swap but those of an answer's text, of which there are twenty a second.
export const onSwap = (handle) =>
  on("htmx:after:swap", ({ detail: { ctx } }) => ctx.sourceElement?.matches(".wire") || handle(ctx));

// The matching elements in a part of the page, itself included.
export const findIn = (root, selector) => [root, ...root.querySelectorAll(selector)].filter((each) => each.matches(selector));

// Handles each element that is added to the thread.
export const onAdded = (handle) =>
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) addedNodes.forEach((node) => node.matches && handle(node));
  }).observe(thread, { childList: true, subtree: true });

// Handles each element that is added, and the thread when htmx has morphed it. Searching all of a long answer at each of its
// changes took a third of the time.
export const onChanged = (handle) => {
  onAdded(handle);
  onSwap(({ sourceElement }) => sourceElement === thread && handle(thread));
};
