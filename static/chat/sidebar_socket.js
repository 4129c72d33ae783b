// The socket of the pages with a sidebar and no conversation: news of the list's rows come by it.

import { watch } from "./sidebar_list.js";

// Milliseconds.
const RETRIES = [1000, 5000, 30_000];

let failures = 0;

const listen = () => {
  const socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws/chat/`);
  socket.onopen = () => watch(socket);
  socket.onmessage = ({ data }) => {
    failures = 0;
    document.dispatchEvent(new CustomEvent("notice", { detail: JSON.parse(data) }));
  };
  socket.onclose = () => setTimeout(listen, RETRIES[Math.min(failures++, RETRIES.length - 1)]);
};

listen();
