// Sets the chosen theme before anything is painted. Without a choice the system's is used.
"use strict";
try {
  const chosen = localStorage.getItem("greenroom-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* storage is off: the system's theme it is */ }
document.documentElement.classList.add("js");
