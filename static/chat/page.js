// The elements of the page that more than one module uses, and how events and storage are reached.

export const byId = (id) => document.getElementById(id);

export const composer = byId("composer");
export const box = byId("content");
export const error = byId("composer-error");
export const scroller = byId("scroller");
export const thread = byId("thread");

// The one element that a live answer has and a finished one has not.
export const wire = () => document.querySelector(".wire");
export const wires = () => document.querySelectorAll(".wire");

export const on = (names, handle, options) =>
  names.split(" ").forEach((name) => document.addEventListener(name, handle, options));

// The conversation that the page shows; "" before its first question.
export const conversation = () => composer.elements.conversation?.value ?? "";

// A browser may refuse storage altogether; then nothing is kept.
export const stored = (use) => {
  try {
    return use(sessionStorage);
  } catch {
    return null;
  }
};
