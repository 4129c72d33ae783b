// Names for elements that Django's admin leaves without one: no screen reader tells the label of an element without a
// role, and a box of select2 has no label.

const giveNames = () => {
  for (const icon of document.querySelectorAll(".help-tooltip[aria-label]:not([role])")) icon.setAttribute("role", "img");
  for (const box of document.querySelectorAll(".select2-selection__rendered:not([aria-label])")) {
    const select = box.closest(".select2-container").previousElementSibling;
    box.setAttribute("aria-label", select.dataset.placeholder || select.labels[0]?.textContent.trim() || select.name);
  }
};

// Some boxes are made after the page has been loaded, and others with each row that is added.
new MutationObserver(giveNames).observe(document.body, { childList: true, subtree: true });
giveNames();
