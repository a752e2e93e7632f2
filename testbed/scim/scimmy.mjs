// A SCIM service provider out of scimmy-routers and express, with its resources in memory.
//
// Its last argument is the bearer token that it wants. It listens on a free port of 127.0.0.1, says which, and ends with its standard input.
// `/Me` is the user called "me", once there is one.
import { randomUUID } from "node:crypto";
import express from "express";
import SCIMMY from "scimmy";
import SCIMMYRouters from "scimmy-routers";

const token = process.argv.at(-1);
const stores = { User: new Map(), Group: new Map() };
// An index over the unique attribute, as any database has it: without it each look-up would cost as much as a listing.
const idsByName = new Map();
const key = (userName) => String(userName).toLowerCase();

const egress = (kind) => (resource) => {
    const store = stores[kind];
    if (resource.id !== undefined) {
        if (!store.has(resource.id)) throw new SCIMMY.Types.Error(404, null, `Resource ${resource.id} not found`);
        return store.get(resource.id);
    }
    if (!resource.filter) return [...store.values()];
    const [[attribute, [op, name] = []] = []] = resource.filter.length === 1 ? Object.entries(resource.filter[0]) : [];
    const named = kind === "User" && attribute?.toLowerCase() === "username" && op === "eq";
    return resource.filter.match(named ? [store.get(idsByName.get(key(name)))].filter(Boolean) : [...store.values()]);
};

const ingress = (kind) => (resource, data) => {
    const store = stores[kind];
    const id = resource.id ?? randomUUID();
    const old = store.get(id);
    if (resource.id !== undefined && !old) throw new SCIMMY.Types.Error(404, null, `Resource ${id} not found`);
    if (kind === "User") {
        const holder = idsByName.get(key(data.userName));
        if (holder !== undefined && holder !== id) throw new SCIMMY.Types.Error(409, "uniqueness", "userName is taken");
        if (old) idsByName.delete(key(old.userName));
        idsByName.set(key(data.userName), id);
    }
    const now = new Date().toISOString();
    const resourceNow = { ...data, id, meta: { created: old?.meta.created ?? now, lastModified: now } };
    store.set(id, resourceNow);
    return resourceNow;
};

const degress = (kind) => (resource) => {
    const old = stores[kind].get(resource.id);
    if (!old) throw new SCIMMY.Types.Error(404, null, `Resource ${resource.id} not found`);
    if (kind === "User") idsByName.delete(key(old.userName));
    stores[kind].delete(resource.id);
};

for (const kind of ["User", "Group"]) {
    SCIMMY.Resources.declare(SCIMMY.Resources[kind], {
        ingress: ingress(kind), egress: egress(kind), degress: degress(kind),
        extensions: kind === "User" ? [{ schema: SCIMMY.Schemas.EnterpriseUser, required: false }] : [],
    });
}

const app = express();
// How many requests came, for whoever compares clients; asking does not count.
let requests = 0;
app.get("/requests", (_, response) => response.send(String(requests)));
app.use((_request, _response, next) => { requests += 1; next(); });
app.use("/scim/v2", new SCIMMYRouters({
    type: "bearer",
    handler: (request) => {
        if (request.header("authorization") !== `Bearer ${token}`) throw new Error("the token is not known");
        return idsByName.get("me");
    },
}));
const server = app.listen(0, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
process.stdin.on("end", () => process.exit()).resume();
