// Sleep, the network, and logins elsewhere: what a page that comes back has missed.

import { on, wire, wires } from "./page.js";
import { OFFLINE, isLoggedOut, logIn, logOut, say } from "./connection.js";
import { openSocket } from "./news.js";
import { isAnotherLogin } from "./requests.js";
import { forgetFailures, restart, restartSilent } from "./stream.js";
import { tellTabs } from "./tabs.js";

// Milliseconds.
const NAP = 20_000;

let lastLook = Date.now();
let hasSlept = false;
// No socket before the page has been seen.
let isFresh = true;

const look = () => {
  const now = Date.now();
  hasSlept ||= now - lastLook > NAP;
  lastLook = now;
  tellTabs();
  if (isLoggedOut() && isAnotherLogin()) logIn();
  restartSilent();
  if (document.hidden || !(hasSlept || isFresh)) return;
  hasSlept = isFresh = false;
  openSocket();
};

setInterval(look, 1000);
on("visibilitychange resume", look);
["focus", "pageshow"].forEach((name) => window.addEventListener(name, look));
window.cookieStore?.addEventListener("change", look);

window.addEventListener("offline", () => say(OFFLINE));

window.addEventListener("online", () => {
  forgetFailures();
  if (isLoggedOut()) logOut();
  else if (!wire()) say("");
  wires().forEach(restart);
  openSocket();
});

look();
