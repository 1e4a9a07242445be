// Adds a button to each block of commands that copies it. Without this script people select the text.
"use strict";

/** Add the button of a block, named after the heading above it. */
function addCopyButton(block) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.dataset.script = "";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy the commands: ${block.previousElementSibling.textContent}`);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.innerText);
    document.getElementById("copied").textContent = "Copied.";
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  block.after(button);
}

// The clipboard exists on https and on this machine only.
if (navigator.clipboard) document.querySelectorAll("[data-copy]").forEach(addCopyButton);
