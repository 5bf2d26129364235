// What the pages do beyond plain forms. Every form works without this file.
import { uploads } from "./uploads.js";
import { casting } from "./casting.js";

const $ = (selector, root = document) => root.querySelector(selector);

theme();
shortcuts();
captions();
liveMark();
menus();
for (const field of document.querySelectorAll("[data-submit]")) field.addEventListener("change", () => field.form.requestSubmit());
document.addEventListener("click", (event) => {
  const fill = event.target.closest("[data-fill]");
  if (!fill) return;
  const field = $(fill.dataset.fill);
  field.value = fill.textContent.trim();
  field.dispatchEvent(new Event("input", { bubbles: true }));
  field.focus();
});
for (const form of document.querySelectorAll("[data-drop]")) uploads(form);
for (const field of document.querySelectorAll("[data-prompt]")) casting(field);

function theme() {
  const button = $("[data-theme-toggle]");
  button.hidden = false;
  button.addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    try { localStorage.setItem("greenroom-theme", root.dataset.theme); } catch { /* it lasts for this page */ }
  });
}

function shortcuts() {
  const dialog = $("#shortcuts");
  const button = $("[data-shortcuts]");
  button.hidden = false;
  button.addEventListener("click", () => dialog.showModal());
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
    const go = { m: "/", n: "/train", g: "/generate" }[event.key];
    if (go) location.href = go;
    else if (event.key === "?") dialog.showModal();
    else if (event.key === "/") {
      const field = $("[data-search], [data-prompt]");
      if (!field) return;
      event.preventDefault();
      field.focus();
    }
  });
}

function captions() {
  const list = $("[data-captions]");
  if (!list) return;
  const step = (field, by) => {
    const all = [...list.querySelectorAll("textarea")];
    const next = all[all.indexOf(field) + by];
    if (!next) return false;
    next.focus();
    next.setSelectionRange(next.value.length, next.value.length);
    next.closest("li").scrollIntoView({ block: "nearest" });
    return true;
  };
  list.addEventListener("keydown", (event) => {
    const field = event.target.closest("textarea");
    if (!field) return;
    const isEnd = field.selectionStart === field.value.length;
    const isStart = field.selectionEnd === 0;
    if (event.key === "Enter") {
      // A caption is one line: Enter alone would only be turned into a space.
      event.preventDefault();
      // Leaving a changed field saves it (change); on the last one it has to be asked for.
      if ((event.ctrlKey || event.metaKey) && !step(field, 1)) field.form.requestSubmit();
    } else if (event.key === "ArrowDown" && (event.altKey || isEnd)) {
      if (step(field, 1)) event.preventDefault();
    } else if (event.key === "ArrowUp" && (event.altKey || isStart)) {
      if (step(field, -1)) event.preventDefault();
    }
  });
}

function liveMark() {
  const live = $("[data-live]");
  const mark = $("[data-live-mark]");
  if (!live || !mark) return;
  const words = $("span", mark);
  const say = (text, state) => { words.textContent = text; mark.dataset.state = state; };
  live.addEventListener("htmx:sse:after:message", () => {
    say(`Live, updated ${new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" })}`, "on");
  });
  live.addEventListener("htmx:sse:error", () => say("Reconnecting…", "off"));
  live.addEventListener("ended", () => { mark.hidden = true; });
}

function menus() {
  // A menu closes on Escape and on a click beside it.
  const open = () => document.querySelectorAll("details.menu[open], details.confirm[open]");
  document.addEventListener("click", (event) => {
    for (const menu of open()) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of open()) { menu.open = false; $("summary", menu).focus(); }
  });
}
