// Runs before the first paint and the modules: restores the sidebar's width and whether it is hidden, sends the time zone
// to the server, and handles Enter in the composer until keys.js has come.

"use strict";
(() => {
  try {
    const width = Number(localStorage.getItem("sidebar-width"));
    if (width >= 240 && width <= 480) document.documentElement.style.setProperty("--sidebar", `${width}px`);
    if (localStorage.getItem("sidebar") === "hidden") document.documentElement.dataset.sidebar = "hidden";
  } catch {
    // A browser may refuse storage; the sidebar is as it always was then.
  }
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !document.cookie.includes(`timezone=${zone}`)) {
    document.cookie = `timezone=${zone}; path=/; max-age=31536000; samesite=lax`;
  }
  // As the form does it without a script: the next page shows the answer. What keys.js has dealt with is over.
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    if (target.id !== "content" || event.key !== "Enter" || event.shiftKey || event.defaultPrevented) return;
    if (event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    if (target.value.trim()) target.form.submit();
  });
})();
