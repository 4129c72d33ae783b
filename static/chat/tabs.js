// Shares the connections among tabs: over HTTP/1.1 a browser opens six to a server, and each stream takes one.

import { on, wire, wires } from "./page.js";
import { connect, connectIn, requestOf } from "./stream.js";

const STREAMS = 4;
// Milliseconds. The tabs that were seen last stream. The others connect now and then, for a `TURN`: that also shows the
// server that the answer is watched. It checks twice a second, and cuts off an answer that nobody watched for a minute.
export const TURN = 800;
const SHORT_TURN = 4000;
const LONG_TURN = 20_000;
// A hidden tab's timers may run once a minute.
const FORGOTTEN = 90_000;

const isNarrow = performance.getEntriesByType("navigation")[0]?.nextHopProtocol === "http/1.1";
const channel = new BroadcastChannel("streams");
const thisTab = { id: Math.random(), seen: Date.now(), streams: false };
const others = new Map();
// The streams that have given their connection to other tabs.
const waiting = new WeakSet();

const hasPrecedence = (tab) => tab.seen > thisTab.seen || (tab.seen === thisTab.seen && tab.id > thisTab.id);

const isCrowded = () => {
  for (const [id, { heardAt }] of others) if (Date.now() - heardAt > FORGOTTEN) others.delete(id);
  return isNarrow && [...others.values()].filter(hasPrecedence).length >= STREAMS;
};

export const giveWay = (element) => {
  const ctx = requestOf(element);
  if (!ctx?.response || !isCrowded()) return;
  ctx.gaveWay = true;
  ctx.request.abort();
};

export const waitTurn = (element) => {
  waiting.add(element);
  connectIn(document.hidden ? LONG_TURN : SHORT_TURN, element);
};

export const tellTabs = () => {
  if (!isNarrow || !(wire() || thisTab.streams)) return;
  thisTab.streams = Boolean(wire());
  channel.postMessage(thisTab);
};

channel.onmessage = ({ data }) => {
  if (data.streams) others.set(data.id, { ...data, heardAt: Date.now() });
  else others.delete(data.id);
  if (isCrowded()) wires().forEach(giveWay);
  else endWaiting();
};

const endWaiting = () => {
  for (const element of wires()) if (waiting.delete(element)) connect(element);
};

const markSeen = () => {
  if (document.hidden) return;
  thisTab.seen = Date.now();
  endWaiting();
};

window.addEventListener("focus", markSeen);
on("visibilitychange", markSeen);

window.addEventListener("pagehide", () => channel.postMessage({ ...thisTab, streams: false }));
