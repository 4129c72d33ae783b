// The state of the connection, in a line above the composer, and whether the user is logged in.

import { byId, error } from "./page.js";

export const OFFLINE = "You are offline. This page reconnects automatically when you are back online.";
export const GONE = "This answer is no longer available: it was deleted, or another user is logged in now.";
const LOST = "Connection lost, reconnecting…";
const UNLOADED = "A part of this page could not be loaded. Reload the page and try again.";

const bar = byId("connection");

// Seconds.
export const heartbeat = Number(bar.dataset.heartbeat);

let saying = 0;
let fading = 0;
let loggedOut = false;

export const isLoggedOut = () => loggedOut;

export const say = (content, isWell = false) => {
  clearTimeout(saying);
  clearTimeout(fading);
  if (content) bar.replaceChildren(content);
  else bar.textContent = "";
  bar.classList.toggle("well", isWell);
  if (isWell) fading = setTimeout(say, 3000, "");
};

// `delay` is milliseconds: a connection that is back before then is not worth a word.
export const sayLost = (delay) => {
  clearTimeout(saying);
  saying = setTimeout(say, delay, LOST);
};

// Cancels what was to be said, and acts after the delay, unless something else is to be said before.
export const actLater = (act, delay) => {
  clearTimeout(saying);
  saying = setTimeout(act, delay);
};

export const sayConnected = () => {
  clearTimeout(saying);
  if (loggedOut) logIn();
  else if (bar.textContent && !bar.matches(".well")) say("Connected again.", true);
};

// The modules that hold connections hear of it by events: "logout" and "login".
export const logOut = () => {
  loggedOut = true;
  document.dispatchEvent(new Event("logout"));
  say(byId("logged-out").content.cloneNode(true));
};

export const logIn = () => {
  loggedOut = false;
  error.textContent = "";
  say("You are logged in again.", true);
  document.dispatchEvent(new Event("login"));
};

document.addEventListener("unloaded", () => say(UNLOADED));
