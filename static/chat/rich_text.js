// An answer as other programs paste it: without the page's buttons, and with its structure.

const clean = (parts) => {
  const copied = parts.cloneNode(true);
  copied.querySelectorAll("button, .reasoning, .tool, .code-head").forEach((element) => element.remove());
  return copied;
};

export const toHtml = (parts) => clean(parts).innerHTML;

// Only what the browser has laid out has its lines, and what is folded away has none.
export const toPlain = (parts) => {
  const copied = clean(parts);
  copied.querySelectorAll(".after-fold").forEach((block) => block.classList.remove("after-fold"));
  copied.className = "visually-hidden";
  document.body.append(copied);
  const text = copied.innerText;
  copied.remove();
  return text;
};
