// News from other tabs and devices, over a WebSocket.

import { byId, conversation, error, lastAnswer, on, thread } from "./page.js";
import { isLoggedOut } from "./connection.js";
import { draftKey } from "./draft.js";
import { clearSent, isBusy, unsentText } from "./requests.js";
import { loadList, watch } from "./sidebar_list.js";

// Milliseconds; at most three attempts a minute, because a socket that a proxy blocks never opens.
const SOCKET_RETRIES = [1000, 5000, 30_000];
const UNAUTHORIZED = 4401;

let socket = null;
let socketTimer = 0;
let socketFailures = 0;

const closeSocket = () => {
  clearTimeout(socketTimer);
  const closing = socket;
  socket = null;
  closing?.close();
};

export const openSocket = () => {
  closeSocket();
  if (!navigator.onLine || isLoggedOut()) return;
  let opened = 0;
  const opening = new WebSocket(`${location.origin.replace("http", "ws")}/ws/chat/`);
  socket = opening;
  opening.onmessage = ({ data }) => handleNotice(JSON.parse(data));
  opening.onopen = () => {
    opened = Date.now();
    watch(opening);
    if (performance.now() > 10_000) catchUp();
  };
  opening.onclose = ({ code }) => {
    if (socket !== opening) return;
    socket = null;
    if (opened && Date.now() - opened > 30_000) socketFailures = 0;
    // The socket's login has ended, or the socket was refused without a reason. Loading the list finds out whether there is
    // still a login: without one it is refused.
    if (code === UNAUTHORIZED || !(opened || socketFailures)) loadList();
    const wait = SOCKET_RETRIES[Math.min(socketFailures++, SOCKET_RETRIES.length - 1)];
    socketTimer = setTimeout(openSocket, wait * (1 + 0.2 * Math.random()));
  };
};

on("login", openSocket);
on("logout", closeSocket);
on("reconnected", () => socket ?? openSocket());

const news = [];
let isReading = false;

// The sidebar gets every notice, for its list; this module handles those of the conversation on the page.
const handleNotice = (notice) => {
  document.dispatchEvent(new CustomEvent("notice", { detail: notice }));
  if (!["turn", "title", "branch"].includes(notice.type)) return;
  news.push(notice);
  readNews();
};

// While a request of this page is under way, notices wait: its own turn would be loaded twice.
export const readNews = async () => {
  if (isReading) return;
  isReading = true;
  try {
    while (news.length && !isBusy()) {
      const notices = news.splice(0);
      for (const notice of notices) if (notice.conversation === conversation()) await applyNotice(notice);
    }
  } finally {
    isReading = false;
  }
};

const pathOf = (id) => `/c/${id}/`;

const applyNotice = async ({ type, question, answer, title, shown, continues, leaf }) => {
  if (type === "branch") return showBranchOf(leaf);
  if (title) byId("heading").textContent = title;
  if (title) document.title = `${title} · Chatsite`;
  const known = byId(`answer-${answer}`);
  const isNew = continues ? !known?.querySelector(".wire") : !known;
  if (type === "turn" && shown && isNew) await loadTurn(question);
};

const load = async (path, target, options) => {
  await htmx.ajax("GET", path, { source: target, target, ...options });
};

const loadTurn = async (question) => {
  const path = `${pathOf(conversation())}turns/${question}/`;
  const turn = byId(`turn-${question}`);
  if (turn) {
    while (turn.nextElementSibling) turn.nextElementSibling.remove();
    await load(path, turn, { swap: "outerHTML" });
  } else {
    await load(`${path}?after=${lastAnswer()}`, thread, { swap: "beforeend" });
  }
  clearArrived();
};

// Another tab or device shows another branch. A question that is being edited here stays: sending it loads the page.
const showBranchOf = async (leaf) => {
  if (leaf !== lastAnswer() && !thread.querySelector(".editor")) await loadThread();
};

export const loadThread = async () => {
  await load(pathOf(conversation()), thread, { select: "#thread > .turn", swap: "innerMorph" });
  clearArrived();
};

// A question whose response was lost is removed from the composer when its turn shows that it arrived.
const clearArrived = () => {
  const unsent = unsentText();
  const last = thread.querySelector(".turn:last-child > .question p");
  if (!unsent || last?.textContent !== unsent) return;
  error.textContent = "";
  clearSent({ text: unsent, draft: draftKey() });
};

// Loads what has changed while the socket was closed.
const catchUp = async () => {
  await loadList();
  const leaf = byId("conversations").querySelector("[data-leaf]:has(> [aria-current])")?.dataset.leaf;
  if (leaf && !isBusy() && !byId(`answer-${leaf}`)) await loadThread();
};
