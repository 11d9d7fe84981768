// Shows and hides the password. Signing in works without it: the button is hidden until this script runs.
(() => {
  "use strict";
  const field = document.getElementById("password");
  const button = document.getElementById("reveal");
  if (!field || !button) {
    return;
  }
  const show = (visible) => {
    field.type = visible ? "text" : "password";
    button.textContent = visible ? "Hide" : "Show";
    button.setAttribute("aria-label", visible ? "Hide password" : "Show password");
  };
  button.addEventListener("click", () => {
    show(field.type === "password");
    field.focus();
  });
  // Browsers keep what was typed into text fields, and their password managers look for password fields.
  field.form.addEventListener("submit", () => show(false));
  button.hidden = false;
})();
