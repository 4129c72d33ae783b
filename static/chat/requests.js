// The requests that the page makes by htmx: their token, what they show while under way, and what a failed one says.

import { byId, box, composer, error, lastAnswer, on, wire } from "./page.js";
import { clearDraft, draftKey, storeDraft } from "./draft.js";
import { isLoggedOut, logIn, logOut } from "./connection.js";
import { run } from "./on_demand.js";
import { splitStream } from "./sent_streams.js";
import { csrfToken } from "./sidebar_list.js";
import { drop, listen } from "./stream.js";
import { follow, keepPlace, showBranch } from "./view.js";
import { loadThread, readNews } from "./news.js";

const UNSENT = "The message could not be sent. Your text is still here; try again.";
const UNREACHED = "The server could not be reached. Try again.";

// What is replaced with the element that has the focus, or hidden.
const REPLACED = ".thumbs, .comment, #queue, #share-dialog form, .stop:focus-visible";

const isQuestion = (ctx) => ctx.sourceElement === composer;
const isWire = (ctx) => ctx.sourceElement.matches?.(".wire");
const isOwn = (ctx) => ctx.request.method === "POST";

// How many requests of this page may be changing the conversation.
let underWay = 0;

// The token of the last request. If the cookie has another one, another login has taken the place of this page's.
let token = csrfToken();

// A question whose response was lost may have arrived: sent again it is the same turn, edited it is another one.
let unsent = "";

export const isBusy = () => underWay > 0;
export const isAnotherLogin = () => csrfToken() !== token;
export const unsentText = () => unsent;

export const forgetUnsent = () => {
  unsent = "";
};

// A login in another tab changes the CSRF token; the cookie has the current one. Buttons that borrow the composer's
// token do not send its text.
on("htmx:config:request", ({ detail: { ctx } }) => {
  token = csrfToken();
  if (token) ctx.request.headers["X-CSRFToken"] = token;
  if (token && ctx.request.body.has("csrfmiddlewaretoken")) ctx.request.body.set("csrfmiddlewaretoken", token);
  if (ctx.sourceElement.form === composer) ctx.request.body.delete("content");
  if (!isQuestion(ctx)) return;
  if (unsent && unsent !== box.value) ctx.request.body.delete("turn");
  // Another tab may show another branch meanwhile, on which the question is asked: then the server has the page loaded.
  ctx.request.body.set("after", lastAnswer());
});

// The user's own words show at once, above the waiting answer.
on("htmx:before:request", ({ detail: { ctx } }) => {
  if (isWire(ctx)) return listen(ctx);
  if (!isOwn(ctx)) return;
  ctx.fetch = async (...request) => splitStream(await fetch(...request));
  underWay += 1;
  error.textContent = "";
  if (!isQuestion(ctx)) return;
  ctx.question = { text: box.value, draft: draftKey() };
  if (wire()) return;
  byId("pending").querySelector("p").textContent = box.value;
  follow();
});

// Nothing of an error page reaches the thread, not even its title: the server's sentence is shown, or ours.
on("htmx:after:request", (event) => {
  const { ctx } = event.detail;
  if (ctx.response.raw.ok && !isWire(ctx)) return arrive(ctx);
  ctx.swap = "none ignoreTitle:true";
  if (isWire(ctx)) return drop(ctx.sourceElement);
  if (ctx.response.status === 401) logOut();
  if (ctx.response.status === 409 && !isOwn(ctx)) loadThread();
  if (isOwn(ctx) && !ctx.hx.retarget) return complain(ctx);
  if (isOwn(ctx)) error.textContent = new DOMParser().parseFromString(ctx.text, "text/html").body.textContent.trim();
  event.preventDefault();
});

on("htmx:error", ({ detail: { ctx } }) => {
  if (!ctx) return;
  if (isWire(ctx)) drop(ctx.sourceElement);
  else if (isOwn(ctx)) complain(ctx);
});

on("htmx:finally:request", ({ detail: { ctx } }) => {
  if (!isOwn(ctx)) return;
  // What was typed meanwhile: a new conversation has its address now.
  if (isQuestion(ctx)) storeDraft();
  underWay -= 1;
  readNews();
});

const complain = (ctx) => {
  error.textContent = isQuestion(ctx) ? UNSENT : UNREACHED;
  unsent = ctx.question?.text ?? unsent;
};

// The edited question has been asked, in the place of the earlier wording.
const endEditing = (form) => {
  showBranch(form);
  follow();
  box.focus({ preventScroll: true });
};

const arrive = (ctx) => {
  if (isLoggedOut()) logIn();
  // After the swap, in which the answer's stream is asked for: the focus costs a layout.
  if (isQuestion(ctx)) queueMicrotask(() => clearSent(ctx.question));
  const source = ctx.sourceElement;
  if (source.id === "earlier") keepPlace();
  else if (source.closest(REPLACED)) moveFocus(source);
  else if (source.matches(".editor")) endEditing(source);
  else if (isOwn(ctx) && source.closest(".foot, .wordings")) showBranch(source);
};

export const clearSent = (question) => {
  forgetUnsent();
  clearDraft(question);
};

const moveFocus = (source) => {
  const area = source.closest(".foot, #queue, #share-dialog, #composer");
  const focused = area.contains(document.activeElement) && document.activeElement;
  if (focused || area.matches(".foot")) run(() => import("./refocus.js"), "refocus", source, area, focused);
};
