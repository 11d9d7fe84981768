// The user menu in Dagster's own pages: who is signed in, as what, and the way out. AuthKit adds this one script to the
// pages that Dagster serves (internal/proxy/inject.go).
//
// Dagster's UI is React's and changes with every version, so the script asks little of it: it finds one of two places
// by names that have lasted since 1.10, stands by itself when neither is there, and puts itself back when React has
// drawn over it. Colours are Dagster's CSS variables (the same from 1.10 to 1.13), which follow its themes.
// Whatever the server says is written as text, never as HTML.
(() => {
  'use strict';

  const script = document.currentScript;
  if (!script || !script.src) {
    return;
  }
  // "https://host/dag/auth/static/menu.0123.js" tells where AuthKit is: ".../dag/auth/".
  const auth = new URL('..', script.src);
  const graphql = new URL('../graphql', auth);
  const nativeFetch = window.fetch;

  const MINUTE = 60_000;
  const PATIENCE = 3_000; // how long Dagster may take to draw its navigation before the menu stands alone

  // ---- Small tools -------------------------------------------------------------------------------------------------

  function element(name, className, ...children) {
    const made = document.createElement(name);
    made.className = className;
    made.append(...children);
    return made;
  }

  function icon(path) {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    const shape = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    shape.setAttribute('d', path);
    svg.setAttribute('viewBox', '0 0 16 16');
    svg.setAttribute('aria-hidden', 'true');
    svg.append(shape);
    return svg;
  }

  function title(word) {
    return word.charAt(0).toUpperCase() + word.slice(1);
  }

  // ---- The session: signing in again, and signs of life ------------------------------------------------------------

  let notice = null;
  let noticed = false;

  function loginAddress() {
    const address = new URL('login', auth);
    address.searchParams.set('next', location.pathname + location.search + location.hash);
    return address.href;
  }

  // sessionEnded says so once, and leaves the page as it is: what somebody was typing is still there to be copied.
  function sessionEnded() {
    if (noticed) {
      return;
    }
    noticed = true;
    const link = element('a', 'authkit-notice-link', 'Sign in again');
    link.href = loginAddress();
    // The page may have changed by the time somebody follows the link.
    for (const use of ['pointerdown', 'focus', 'click']) {
      link.addEventListener(use, () => { link.href = loginAddress(); });
    }
    const dismiss = element('button', 'authkit-notice-dismiss', icon('M4 4l8 8M12 4l-8 8'));
    dismiss.type = 'button';
    dismiss.setAttribute('aria-label', 'Dismiss');
    dismiss.addEventListener('click', () => notice.remove());
    notice = element('div', 'authkit-notice', element('span', '', 'Your session has ended.'), link, dismiss);
    notice.setAttribute('role', 'alert');
    document.body.append(notice);
  }

  function isGraphQL(address) {
    try {
      const { origin, pathname } = new URL(address, location.href);
      return origin === graphql.origin && pathname === graphql.pathname;
    } catch {
      return false;
    }
  }

  // watchFetch looks at the status of Dagster's GraphQL answers. Callers get the very promise that fetch made.
  function watchFetch() {
    window.fetch = function fetch(...args) {
      const answer = nativeFetch.apply(this, args);
      answer.then((response) => {
        if (response.status === 401 && isGraphQL(response.url)) {
          sessionEnded();
        }
      }, () => {});
      return answer;
    };
  }

  // watchSockets notices that AuthKit closed a WebSocket because the session ended or the role changed (4401).
  function watchSockets() {
    window.WebSocket = new Proxy(window.WebSocket, {
      construct(target, args, newTarget) {
        const socket = Reflect.construct(target, args, newTarget);
        socket.addEventListener('close', (event) => {
          if (event.code === 4401) {
            askWhoIAm();
          }
        });
        return socket;
      },
    });
  }

  // beat tells the server that a person is at work here: Dagster's pages ask for news for ever, person or not. Moving
  // the pointer does not count, as browsers make such events themselves when a page changes under a resting pointer.
  // Tabs share the minute through localStorage, where the browser allows it.
  let lastBeat = 0;

  function beat(event) {
    const now = Date.now();
    if (!event.isTrusted || noticed || Math.abs(now - lastBeat) < MINUTE) {
      return;
    }
    lastBeat = now;
    const key = 'authkit-beat ' + auth.pathname;
    try {
      const elsewhere = Number(localStorage.getItem(key));
      if (Math.abs(now - elsewhere) < MINUTE) {
        lastBeat = elsewhere;
        return;
      }
      localStorage.setItem(key, String(now));
    } catch {
      // Without storage each tab beats for itself.
    }
    nativeFetch(new URL('beat', auth), { method: 'POST', keepalive: true }).then((response) => {
      if (response.status === 401) {
        sessionEnded();
      }
    }, () => {});
  }

  // ---- Who is signed in --------------------------------------------------------------------------------------------

  let me = null;

  async function askWhoIAm(pause = 2_000) {
    let response;
    try {
      response = await nativeFetch(new URL('me', auth), { headers: { Accept: 'application/json' } });
      if (response.status === 401) {
        sessionEnded();
        return;
      }
      if (!response.ok) {
        throw new Error(String(response.status));
      }
      me = await response.json();
    } catch {
      setTimeout(askWhoIAm, pause, Math.min(2 * pause, MINUTE));
      return;
    }
    draw();
    place();
  }

  // ---- The button and its menu -------------------------------------------------------------------------------------

  const avatar = element('span', 'authkit-avatar');
  avatar.setAttribute('aria-hidden', 'true');
  const label = element('span', 'authkit-label');
  const button = element('button', 'authkit-button', avatar, label);
  button.type = 'button';
  button.setAttribute('aria-haspopup', 'menu');
  button.setAttribute('aria-expanded', 'false');
  const host = element('div', 'authkit-host', button);

  const about = element('div', 'authkit-about');
  about.id = 'authkit-about';
  const signOut = element('button', 'authkit-item',
    icon('M6.5 2.75H3.75a1 1 0 0 0-1 1v8.5a1 1 0 0 0 1 1H6.5M10.5 5l3 3-3 3M13.25 8H6.25'), 'Sign out');
  signOut.setAttribute('role', 'menuitem');
  const form = element('form', 'authkit-form', signOut);
  // A form, not a fetch: the browser sends the Origin that the server checks, and follows to the page that comes next.
  form.method = 'post';
  form.action = new URL('logout', auth).href;
  form.setAttribute('role', 'menu');
  form.setAttribute('aria-label', 'Account');
  form.setAttribute('aria-describedby', about.id);
  const popup = element('div', 'authkit-popup', about, form);
  popup.id = 'authkit-popup';
  button.setAttribute('aria-controls', popup.id);

  function draw() {
    const name = String(me.username || '');
    const role = title(String(me.role || ''));
    avatar.textContent = (Array.from(name)[0] || '?').toUpperCase();
    label.textContent = name;
    button.title = role ? `${name} (${role})` : name;
    button.setAttribute('aria-label', `Account of ${name}`);

    const lines = [element('div', 'authkit-name', name)];
    if (me.email && me.email !== name) {
      lines.push(element('div', 'authkit-email', String(me.email)));
    }
    if (role) {
      lines.push(element('div', 'authkit-role', role));
    }
    const grants = Array.isArray(me.grants) ? me.grants : [];
    if (grants.length > 0) {
      lines.push(element('div', 'authkit-heading', 'Code locations'));
      for (const grant of grants) {
        lines.push(element('div', 'authkit-grant',
          element('span', 'authkit-location', String(grant.location)),
          element('span', 'authkit-grant-role', title(String(grant.role)))));
      }
    }
    about.replaceChildren(...lines);
  }

  function isOpen() {
    return popup.isConnected;
  }

  function open() {
    document.body.append(popup);
    button.setAttribute('aria-expanded', 'true');
    position();
    signOut.focus();
  }

  function close(focus) {
    popup.remove();
    button.setAttribute('aria-expanded', 'false');
    if (focus) {
      button.focus();
    }
  }

  // position puts the popup over or under the button, wherever there is room, within the window.
  function position() {
    const gap = 8;
    // Not innerWidth: on a phone that is the width of whatever sticks out of the page.
    const { clientWidth: width, clientHeight: height } = document.documentElement;
    const from = button.getBoundingClientRect();
    const size = popup.getBoundingClientRect();
    const above = from.top + from.height / 2 > height / 2;
    const top = above ? from.top - size.height - gap : from.bottom + gap;
    const left = from.left + from.width / 2 > width / 2 ? from.right - size.width : from.left;
    popup.style.top = `${Math.max(gap, Math.min(top, height - size.height - gap))}px`;
    popup.style.left = `${Math.max(gap, Math.min(left, width - size.width - gap))}px`;
  }

  function onButtonKey(event) {
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      keep(event);
      open();
    }
  }

  function onMenuKey(event) {
    const items = [...form.querySelectorAll('[role="menuitem"]')];
    const at = items.indexOf(document.activeElement);
    const to = {
      ArrowDown: items[(at + 1) % items.length], ArrowUp: items[(at + items.length - 1) % items.length],
      Home: items[0], End: items[items.length - 1],
    }[event.key];
    if (to) {
      keep(event);
      to.focus();
    } else if (event.key === 'Escape') {
      keep(event);
      close(true);
    } else if (event.key === 'Tab') {
      close(true);
    }
  }

  // keep a key from scrolling the page and from Dagster's shortcuts.
  function keep(event) {
    event.preventDefault();
    event.stopPropagation();
  }

  function listen() {
    button.addEventListener('click', () => (isOpen() ? close(true) : open()));
    button.addEventListener('keydown', onButtonKey);
    popup.addEventListener('keydown', onMenuKey);
    addEventListener('pointerdown', (event) => {
      if (isOpen() && !popup.contains(event.target) && !host.contains(event.target)) {
        close(false);
      }
    }, true);
    addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && isOpen()) {
        close(true);
      }
    });
    addEventListener('resize', () => {
      close(false);
      place();
    });
    for (const use of ['pointerdown', 'keydown', 'wheel']) {
      addEventListener(use, beat, { capture: true, passive: true });
    }
  }

  // ---- Its place in Dagster's UI -----------------------------------------------------------------------------------

  // places are tried in order: the left sidebar's bottom group (1.12 and later), the top bar's settings button (1.10,
  // 1.11). On a phone the old top bar is wider than the window, and its right end can't be reached.
  const places = [
    { name: 'sidebar', selector: '[class*="MainNavigation_bottomGroups"]', put: (anchor) => anchor.append(host) },
    { name: 'topbar', selector: 'button[title="User settings"]', put: (anchor) => anchor.after(host) },
  ];
  let lookingSince = 0;
  let looking = 0;

  function place() {
    if (!me) {
      return;
    }
    for (const { name, selector, put } of places) {
      const anchor = document.querySelector(selector);
      if (!anchor || anchor.getBoundingClientRect().right > document.documentElement.clientWidth + 1) {
        continue;
      }
      if (!host.isConnected || host.dataset.place !== name) {
        host.dataset.place = name;
        put(anchor);
      }
      lookingSince = 0;
      return;
    }
    standAlone();
  }

  // standAlone waits for Dagster to draw, then shows the button by itself.
  function standAlone() {
    lookingSince ||= Date.now();
    const left = lookingSince + PATIENCE - Date.now();
    if (left > 0) {
      setTimeout(look, left + 1);
    } else if (!host.isConnected || host.dataset.place !== 'alone') {
      host.dataset.place = 'alone';
      document.body.append(host);
    }
  }

  // look checks the place, at most five times a second however much React draws.
  function look() {
    looking ||= setTimeout(() => {
      looking = 0;
      if (isOpen() && !host.isConnected) {
        close(false);
      }
      place();
    }, 200);
  }

  function watchPage() {
    new MutationObserver(() => {
      // Where the button stands in Dagster's own navigation there is nothing to look for.
      if (!host.isConnected || host.dataset.place === 'alone') {
        look();
      }
    }).observe(document.body, { childList: true, subtree: true });
  }

  // ---- How it looks ------------------------------------------------------------------------------------------------

  const css = `
    .authkit-host, .authkit-popup, .authkit-notice { box-sizing: border-box; font-size: 14px; line-height: 20px; }
    .authkit-host *, .authkit-popup *, .authkit-notice * { box-sizing: border-box; }
    .authkit-button, .authkit-item, .authkit-notice-dismiss {
      appearance: none; border: 0; margin: 0; background: none; font: inherit; color: inherit; text-align: left;
      cursor: pointer; display: flex; align-items: center;
    }
    .authkit-button:focus-visible, .authkit-item:focus-visible, .authkit-notice :focus-visible {
      outline: 2px solid var(--color-focus-ring, #958ceb); outline-offset: -2px;
    }
    .authkit-avatar {
      flex: none; width: 20px; height: 20px; border-radius: 50%; display: flex; align-items: center;
      justify-content: center; font-size: 11px; font-weight: 600; line-height: 1; color: #fff;
      background: var(--color-core-blue500, #4f43dd);
    }
    .authkit-label { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }

    .authkit-host[data-place="sidebar"] {
      width: 204px; max-width: 100%; padding: 4px 0; border-top: 1px solid var(--color-keyline-default, #d9dce3);
    }
    .authkit-host[data-place="sidebar"] .authkit-button {
      width: 100%; height: 32px; padding: 0 12px 0 10px; gap: 6px; border-radius: 8px;
      color: var(--color-text-default, #030615);
    }
    .authkit-host[data-place="sidebar"] .authkit-button:hover,
    .authkit-host[data-place="sidebar"] .authkit-button[aria-expanded="true"] {
      background: var(--color-background-lighter, #f3f4f6);
    }
    [class*="MainNavigation_nav"][class*="MainNavigation_collapsed"] .authkit-host { width: 32px; }
    [class*="MainNavigation_nav"][class*="MainNavigation_collapsed"] .authkit-button {
      padding: 0; justify-content: center;
    }
    [class*="MainNavigation_nav"][class*="MainNavigation_collapsed"] .authkit-label { display: none; }
    .dagster-mobile .authkit-host[data-place="sidebar"] { width: auto; }

    .authkit-host[data-place="topbar"] .authkit-button {
      gap: 8px; height: 32px; padding: 0; border-radius: 16px; color: var(--color-nav-text, #9ea6b7);
    }
    .authkit-host[data-place="topbar"] .authkit-button:hover { color: var(--color-nav-text-hover, #bec4d1); }
    .authkit-host[data-place="topbar"] .authkit-avatar { width: 32px; height: 32px; font-size: 14px; }
    .authkit-host[data-place="topbar"] .authkit-label { max-width: 140px; padding-right: 8px; }
    @media (max-width: 1200px) {
      .authkit-host[data-place="topbar"] .authkit-label { display: none; }
    }

    .authkit-host[data-place="alone"] {
      position: fixed; left: 12px; top: calc(100vh - 48px); top: calc(100svh - 48px); z-index: 19;
    }
    .authkit-host[data-place="alone"] .authkit-button {
      padding: 4px; border-radius: 50%; background: var(--color-popover-background, #fff);
      box-shadow: 0 2px 12px var(--color-shadow-default, rgba(103, 116, 138, 0.3));
    }
    .authkit-host[data-place="alone"] .authkit-avatar { width: 28px; height: 28px; font-size: 13px; }
    .authkit-host[data-place="alone"] .authkit-label { display: none; }

    .authkit-popup {
      position: fixed; z-index: 30; width: max-content; min-width: 204px;
      max-width: min(300px, calc(100vw - 16px)); max-height: calc(100vh - 16px);
      overflow: auto; border-radius: 8px; color: var(--color-text-default, #030615);
      background: var(--color-popover-background, #fff);
      box-shadow: 0 2px 12px var(--color-shadow-default, rgba(103, 116, 138, 0.3));
    }
    .authkit-about { padding: 12px 14px; overflow-wrap: anywhere; }
    .authkit-name { font-weight: 600; }
    .authkit-email { color: var(--color-text-light, #525e75); font-size: 12px; line-height: 16px; }
    .authkit-role {
      display: inline-block; margin-top: 6px; padding: 2px 8px; border-radius: 8px; font-size: 12px; line-height: 16px;
      color: var(--color-text-default, #030615); background: var(--color-background-gray, rgba(103, 116, 138, 0.12));
    }
    .authkit-heading {
      margin-top: 10px; color: var(--color-text-light, #525e75); font-size: 12px; line-height: 20px;
      text-transform: uppercase;
    }
    .authkit-grant { display: flex; justify-content: space-between; gap: 8px; font-size: 12px; line-height: 20px; }
    .authkit-grant-role { flex: none; color: var(--color-text-light, #525e75); }
    .authkit-form { margin: 0; padding: 4px; border-top: 1px solid var(--color-keyline-default, #d9dce3); }
    .authkit-item { width: 100%; padding: 6px 10px; gap: 8px; border-radius: 4px; }
    .authkit-item:hover, .authkit-item:focus { background: var(--color-popover-background-hover, #f3f4f6); }
    .authkit-item svg, .authkit-notice svg {
      width: 16px; height: 16px; fill: none; stroke: currentColor; stroke-width: 1.5;
    }

    .authkit-notice {
      position: fixed; z-index: 40; left: 50%; bottom: 24px; transform: translateX(-50%); display: flex;
      align-items: center; gap: 12px; width: max-content; max-width: calc(100vw - 32px);
      padding: 8px 8px 8px 16px; border-radius: 8px;
      color: var(--color-tooltip-text, #fff); background: var(--color-tooltip-background, #23283b);
      box-shadow: 0 2px 12px var(--color-shadow-default, rgba(103, 116, 138, 0.3));
    }
    .authkit-notice .authkit-notice-link, .authkit-notice .authkit-notice-link:hover {
      color: inherit; font-weight: 600; text-decoration: underline; border-radius: 4px;
    }
    .authkit-notice-dismiss { padding: 6px; border-radius: 4px; opacity: 0.8; }
    .authkit-notice-dismiss:hover { opacity: 1; }
  `;

  function dress() {
    // A constructed sheet is the script's own and needs no leave from the page's policy.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    document.adoptedStyleSheets.push(sheet);
  }

  watchFetch();
  watchSockets();
  dress();
  listen();
  watchPage();
  askWhoIAm();
})();
