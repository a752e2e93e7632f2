"use strict";
// The token comes with the address's fragment, which no server sees, or is asked for; it is kept for this tab alone.
const byId = (id) => document.getElementById(id);
const fragment = new URLSearchParams(location.hash.slice(1)).get("token");
if (fragment) {
  sessionStorage.setItem("token", fragment);
  history.replaceState(null, "", location.pathname);
}

// All text comes in by textContent: nothing that an application or a source says becomes markup.
const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

const WORDS = { healthy: "✓ healthy", degraded: "▲ degraded", failed: "✕ failed", unknown: "? not seen yet" };

const span = (seconds) => {
  if (seconds === null || seconds === undefined) return "";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
};
const since = (at, now) => (at ? span((Date.parse(now) - Date.parse(at)) / 1000) : "");

// Bars of equal width; an empty minute is a gap, so that silence is seen.
const bars = (caption, values, className) => {
  const figure = element("figure");
  const largest = Math.max(...values.map((value) => value ?? 0), 1);
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${values.length * 4} 40`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", caption);
  values.forEach((value, at) => {
    if (!value) return;
    const height = Math.max(2, (value / largest) * 40);
    const bar = document.createElementNS(space, "rect");
    bar.setAttribute("class", className);
    bar.setAttribute("x", at * 4);
    bar.setAttribute("y", 40 - height);
    bar.setAttribute("width", 3);
    bar.setAttribute("height", height);
    svg.append(bar);
  });
  figure.append(svg, element("figcaption", caption));
  return figure;
};

// A name is set apart from what stands around it, whichever way it is written.
const name = (text) => {
  const made = element("bdi", text);
  made.title = text;
  return made;
};

const waiting = (connector) => {
  const made = element("ul", undefined, "waiting");
  const failed = connector.provisioning_failed + connector.deprovisioning_failed;
  const oldest = connector.oldest_deprovision_age_s;
  if (connector.deprovisioning_queued > 0) {
    const age = oldest === null ? "" : `, oldest ${span(oldest)}`;
    made.append(element("li", `${connector.deprovisioning_queued} to take away${age}`, "bad"));
  }
  if (connector.provisioning_queued > 0) made.append(element("li", `${connector.provisioning_queued} to give`));
  if (failed > 0) made.append(element("li", `${failed} tried and failed`, "warn"));
  if (!made.children.length) made.append(element("li", "Nothing waits"));
  return made;
};

const card = (connector) => {
  const made = element("article", undefined, `card ${connector.state}`);
  made.dataset.connector = connector.id;
  made.dataset.state = connector.state;
  const title = element("h3");
  title.append(name(connector.id), element("span", WORDS[connector.state] ?? connector.state));
  // The state stands in the title already; times are for whoever sits here.
  const said = connector.reason.startsWith(`${connector.state}: `) ? connector.reason.slice(connector.state.length + 2) : connector.reason;
  const reason = said.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, (at) => new Date(at).toLocaleTimeString());
  made.append(title, waiting(connector), element("p", reason));
  const charts = element("div", undefined, "charts");
  const latest = connector.latency_ms.filter((value) => value !== null).at(-1);
  charts.append(
    bars(latest === undefined ? "No answers yet" : `Latency, last ${Math.round(latest)} ms`, connector.latency_ms, "latency"),
    bars(`Failures, ${connector.failures.reduce((sum, value) => sum + value, 0)} shown`, connector.failures, "failures"),
  );
  made.append(charts);
  return made;
};

const tile = (number, text, className) => {
  const made = element("li");
  made.append(element("strong", String(number), number > 0 ? className : "good"), text);
  return made;
};

const leaverRow = (leaver, now) => {
  const made = element("tr");
  const person = Object.assign(element("th"), { scope: "row" });
  person.append(name(leaver.display_name ?? leaver.person));
  if (leaver.display_name) person.append(element("small", leaver.person));
  const left = element("td", `${since(leaver.left_at, now)} ago`);
  left.title = new Date(leaver.left_at).toLocaleString();
  const open = element("ul");
  open.append(...leaver.missing.map((system) => {
    const item = element("li");
    item.append(element("strong", system.connector), " ", element("small", system.reason));
    return item;
  }));
  const where = element("td");
  where.append(open);
  made.append(person, left, where);
  return made;
};

const row = (...cells) => {
  const made = element("tr");
  made.append(...cells.map((cell, at) => {
    const shown = at === 0 ? Object.assign(element("th"), { scope: "row" }) : element("td");
    shown.append(cell);
    return shown;
  }));
  return made;
};

const reviewRow = (review, now) => {
  const due = element("span", new Date(review.due_at).toLocaleDateString(), review.overdue ? "bad" : undefined);
  if (review.overdue) due.append(` (${since(review.due_at, now)} ago)`);
  const revokes = element("span", String(review.revokes_waiting), review.revokes_waiting > 0 ? "warn" : undefined);
  if (review.revokes_held > 0) revokes.append(`, ${review.revokes_held} held`);
  const decided = `${review.decisions_made} of ${review.decisions_total}`;
  return row(name(review.name), due, review.unassigned > 0 ? `${decided}, ${review.unassigned} without a reviewer` : decided, revokes);
};

const show = (status) => {
  byId("login").hidden = true;
  byId("content").hidden = false;
  const ill = status.connectors.filter((connector) => connector.state !== "healthy").length;
  const open = status.leavers_open;
  const { held, violations } = status.duty;
  const queued = status.connectors.reduce((sum, one) => sum + one.provisioning_queued + one.deprovisioning_queued, 0);
  byId("headline").textContent = open > 0
    ? `✕ ${open} ${open === 1 ? "person who left is" : "people who left are"} not confirmed to be out`
    : ill > 0
      ? `▲ ${ill} of ${status.connectors.length} applications need attention`
      : violations.length > 0
        ? `▲ ${violations.length} ${violations.length === 1 ? "violation" : "violations"} of separation of duty`
        : "✓ All is well";
  byId("headline").className = open > 0 ? "bad" : ill + violations.length > 0 ? "warn" : "good";
  byId("updated").textContent = `as of ${new Date(status.now).toLocaleTimeString()}`;
  byId("tiles").replaceChildren(
    tile(open, open === 1 ? "leaver not confirmed" : "leavers not confirmed", "bad"),
    tile(ill, `of ${status.connectors.length} applications not healthy`, "warn"),
    tile(queued, queued === 1 ? "change waits" : "changes wait", "warn"),
    tile(status.alerts.length, status.alerts.length === 1 ? "open alert" : "open alerts", "warn"),
  );

  byId("connectors").replaceChildren(...status.connectors.map(card));

  byId("no-leavers").hidden = open > 0;
  byId("leavers").hidden = status.leavers.length === 0;
  byId("leavers").tBodies[0].replaceChildren(...status.leavers.map((leaver) => leaverRow(leaver, status.now)));
  byId("more-leavers").hidden = open <= status.leavers.length;
  byId("more-leavers").textContent = `and ${open - status.leavers.length} more`;
  byId("held").hidden = status.held === 0;
  byId("held").textContent = `${status.held} leavers are held: more at once than expected. Approve them if they are meant.`;

  byId("duty").hidden = held.length + violations.length === 0;
  byId("violations").replaceChildren(...violations.map((violation) => element("li", violation.message, "bad")));
  byId("grants").hidden = held.length === 0;
  byId("grants").tBodies[0].replaceChildren(...held.map((grant) =>
    row(name(grant.person), `${grant.entitlement} on ${grant.connector}`, grant.risks.join(", "), grant.message)));

  byId("reviews").hidden = status.reviews.length === 0;
  byId("reviews").querySelector("tbody").replaceChildren(...status.reviews.map((review) => reviewRow(review, status.now)));

  byId("sources").hidden = status.sources.length === 0;
  byId("sources").querySelector("ul").replaceChildren(...status.sources.map((source) => {
    const item = element("li", undefined, source.waits_for_approval ? "warn" : undefined);
    item.append(element("strong", source.source), " ", source.message);
    return item;
  }));

  byId("no-alerts").hidden = status.alerts.length > 0;
  byId("alerts").replaceChildren(...status.alerts.map((alert) => {
    const item = element("li", undefined, alert.tier);
    item.append(
      element("strong", `${alert.connector}: ${alert.failure_type.replaceAll("_", " ")}`),
      element("small", `since ${new Date(alert.first_failure_at).toLocaleString()} – ${alert.remedy}`),
    );
    return item;
  }));
};

const ask = (why) => {
  byId("content").hidden = true;
  byId("login").hidden = false;
  byId("refused").textContent = why;
  byId("headline").textContent = "Who is asking?";
};

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", byId("token").value);
  byId("token").value = "";
  refresh();
});

let timer;
const refresh = async () => {
  clearTimeout(timer);
  const token = sessionStorage.getItem("token");
  if (!token) return ask("");
  try {
    const answer = await fetch("api/status", { headers: { authorization: `Bearer ${token}` }, cache: "no-store" });
    if (answer.status === 401 || answer.status === 403) return ask("This token is refused.");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    // What is shown is old: that must be seen.
    byId("headline").textContent = `✕ The provisioner does not answer (${error.message}); what is shown is old`;
    byId("headline").className = "warn";
  }
  timer = setTimeout(refresh, 2000);
};
refresh();
