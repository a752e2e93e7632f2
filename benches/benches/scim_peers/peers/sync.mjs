// Synchronises users over bare keep-alive connections. Its last four arguments: base URL, token, how many users, how many
// at once.
import http from "node:http";

const [base, token, count, concurrency] = process.argv.slice(-4);
const url = new URL(base);
const agent = new http.Agent({ keepAlive: true, maxSockets: Number(concurrency) });

function send(method, path, body) {
    return new Promise((resolve, reject) => {
        const text = body && JSON.stringify(body);
        const headers = { authorization: `Bearer ${token}`, accept: "application/scim+json" };
        if (text) Object.assign(headers, { "content-type": "application/scim+json", "content-length": Buffer.byteLength(text) });
        const request = http.request({ agent, host: url.hostname, port: url.port, method, path: url.pathname + path, headers });
        request.on("error", reject).on("response", (response) => {
            const parts = [];
            response.on("data", (part) => parts.push(part)).on("error", reject).on("end", () => {
                const answer = Buffer.concat(parts).toString();
                if (response.statusCode >= 300) reject(new Error(`${method} ${path}: ${response.statusCode} ${answer}`));
                else resolve(answer ? JSON.parse(answer) : undefined);
            });
        });
        request.end(text);
    });
}

function wanted(number, turn) {
    const digits = String(number).padStart(6, "0");
    return {
        schemas: ["urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        userName: `user${digits}@example.com`,
        externalId: `hr-${digits}`,
        name: { givenName: `Given${number}`, familyName: `Family${number}` },
        displayName: `Given${number} Family${number}`,
        title: turn === 2 && number % 10 === 0 ? "Principal" : "Engineer",
        active: true,
        emails: [{ value: `user${digits}@example.com`, type: "work", primary: true }],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { department: `Department ${number % 40}`, employeeNumber: String(number) },
    };
}

async function turn(which) {
    const began = performance.now();
    let next = 0, created = 0, changed = 0;
    await Promise.all(Array.from({ length: Number(concurrency) }, async () => {
        while (next < Number(count)) {
            const user = wanted(next++, which);
            const found = await send("GET", `/Users?filter=${encodeURIComponent(`userName eq "${user.userName}"`)}`);
            if (!found.Resources?.length) {
                await send("POST", "/Users", user);
                created += 1;
            } else if (found.Resources[0].title !== user.title) {
                const Operations = [{ op: "replace", path: "title", value: user.title }];
                await send("PATCH", `/Users/${encodeURIComponent(found.Resources[0].id)}`, { schemas: ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], Operations });
                changed += 1;
            }
        }
    }));
    return { seconds: (performance.now() - began) / 1000, created, changed };
}

const turns = [await turn(1), await turn(2)];
console.log(JSON.stringify({ turns, resident_kib: process.resourceUsage().maxRSS }));
agent.destroy();
