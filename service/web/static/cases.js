// Keyboard keys of the pages of cases. Off while typing, and switchable off (WCAG 2.1.4).
const STORED = "expunge-case-keys";
const keysOn = document.getElementById("keys-on");

function isOn() {
  return localStorage.getItem(STORED) !== "off";
}

function isTyping(target) {
  return target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
}

function moveFocus(step) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (rows.length === 0) return;
  const index = rows.indexOf(document.activeElement);
  rows[Math.min(Math.max(index + step, 0), rows.length - 1)].focus();
}

function press(key) {
  const control = document.querySelector(`[data-key="${key}"]`);
  if (control === null) return false;
  if (control.matches("select, input")) control.focus();
  else control.click();
  return true;
}

function handleKey(event) {
  if (!isOn() || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const actions = {
    j: () => moveFocus(1),
    k: () => moveFocus(-1),
    o: () => document.activeElement.matches("[data-row]") ? document.activeElement.click() : press("o"),
    "?": () => { const keys = document.getElementById("keys"); keys.open = !keys.open; keys.querySelector("summary").focus(); },
  };
  if (event.key in actions) actions[event.key]();
  else if (!["c", "e", "d", "/"].includes(event.key) || !press(event.key)) return;
  event.preventDefault();
}

if (keysOn !== null) {
  keysOn.checked = isOn();
  keysOn.addEventListener("change", () => localStorage.setItem(STORED, keysOn.checked ? "on" : "off"));
  document.addEventListener("keydown", handleKey);
}
