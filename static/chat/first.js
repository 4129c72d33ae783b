// Runs before the first paint and the modules: restores the sidebar's width and whether it is hidden, sends the time zone
// to the server, and handles Enter in the composer until keys.js is loaded.

"use strict";
(() => {
  try {
    const width = Number(localStorage.getItem("sidebar-width"));
    if (width >= 240 && width <= 480) document.documentElement.style.setProperty("--sidebar", `${width}px`);
    if (localStorage.getItem("sidebar") === "hidden") document.documentElement.dataset.sidebar = "hidden";
  } catch {
    // A browser may refuse storage; then the sidebar is shown, in its default width.
  }
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !document.cookie.includes(`timezone=${zone}`)) {
    document.cookie = `timezone=${zone}; path=/; max-age=31536000; samesite=lax`;
  }
  // Submits the form as a browser without scripts does: the next page shows the answer. Once keys.js is loaded, it handles
  // the key first and prevents the default.
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    if (target.id !== "content" || event.key !== "Enter" || event.shiftKey || event.defaultPrevented) return;
    if (event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    if (target.value.trim() && !event.repeat) target.form.submit();
  });
})();
