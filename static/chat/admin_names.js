// Names for what Django's admin leaves without one: a label on an element without a role reaches nobody, and a box of
// select2 has none.

window.addEventListener("load", () => {
  for (const icon of document.querySelectorAll(".help-tooltip[aria-label]:not([role])")) icon.setAttribute("role", "img");
  for (const box of document.querySelectorAll(".select2-selection__rendered")) {
    const select = box.closest(".select2-container").previousElementSibling;
    box.setAttribute("aria-label", select.dataset.placeholder || select.labels[0]?.textContent.trim() || select.name);
  }
});
