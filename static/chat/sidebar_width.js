// The sidebar's width, by its edge or by keys.

import { keep } from "./sidebar_hidden.js";

const NARROWEST = 240; // CSS pixels
const WIDEST = 480;
const USUAL = 280;
const STEP = 16;

const root = document.documentElement;
const edge = document.getElementById("sidebar-edge");
const sidebar = document.getElementById("sidebar");

const setWidth = (pixels) => {
  const width = Math.round(Math.min(WIDEST, Math.max(NARROWEST, pixels)));
  root.style.setProperty("--sidebar", `${width}px`);
  edge.setAttribute("aria-valuenow", width);
  keep("sidebar-width", width === USUAL ? "" : width);
};

const width = () => sidebar.getBoundingClientRect().width;
const isReversed = getComputedStyle(root).direction === "rtl";

edge.setAttribute("aria-valuenow", Math.round(width() || USUAL));

edge.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  edge.setPointerCapture(event.pointerId);
  const begin = width();
  const move = ({ clientX }) => setWidth(begin + (isReversed ? -1 : 1) * (clientX - event.clientX));
  edge.addEventListener("pointermove", move);
  edge.addEventListener("lostpointercapture", () => edge.removeEventListener("pointermove", move), { once: true });
});

edge.addEventListener("dblclick", () => setWidth(USUAL));

export const press = (key) =>
  setWidth({ ArrowLeft: width() - STEP, ArrowRight: width() + STEP, Home: NARROWEST, End: WIDEST }[key]);
