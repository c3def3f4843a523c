import { expect, test } from "vitest";
import { type Prefix, parsePrefix } from "../ip/address.ts";
import { forwardingPlan } from "./forwarding.ts";
import { addToPlan, emptyPlan, formatPlan } from "./iptables-lines.ts";
import type { IptablesPlan } from "./iptables-plan.ts";
import { hostPortPlan, masqueradePlan } from "./iptables-rules.ts";
import {
  attemptText,
  checkText,
  localnetLinks,
  missingRule,
  parseSaved,
  removalText,
  repairText,
  savedRules,
  unseenRules,
} from "./iptables-text.ts";

const pod = parsePrefix("10.77.0.2/24") as Prefix;

function plan(containerId: string, localnetLink: string): IptablesPlan {
  const owner = { network: "netA", containerId, ifname: "eth0" };
  const port = { protocol: "tcp", hostPort: 8080, containerPort: 80, hostIp: null };
  return hostPortPlan(owner, pod, [port], {
    conditions: [],
    snat: true,
    masqAll: false,
    sameLink: false,
    localnetLink,
    markMasqBit: 13,
    externalSetMarkChain: "",
    lastWins: false,
    listeners: [],
    asked: [port],
  });
}

/** What iptables-save says after a restore's input, for inputs that only add. */
function afterwards(text: string): string {
  return text
    .split("\n")
    .map((line) => line.replace(/^-I/, "-A"))
    .join("\n");
}

const a = plan("cont-a", "cni0");
const b = plan("cont-b", "cni0");
const both = parseSaved(afterwards(repairText([], [a, b], [], [])));

test("an attempt checks what is shared and demands that the own chain is new", () => {
  const lines = attemptText(a).split("\n");
  expect(lines.filter((line) => line.startsWith("-C "))).toHaveLength(a.sharedRules.length);
  expect(lines.filter((line) => line.startsWith("*"))).toEqual(["*raw", "*nat"]);
  expect(lines).toContain(`-N ${a.chain}`);
  expect(lines.filter((line) => line.startsWith("-A "))).toHaveLength(a.rules.length);
  expect(attemptText(plan("cont-a", ""))).not.toContain("raw");
});

test("a check finds rules in the text of iptables-save, and asks only for those that it puts otherwise", () => {
  expect(unseenRules(both, a)).toEqual([]);
  const other = { ...a, rules: a.rules.map((rule, i) => (i === 1 ? { ...rule, text: `${rule.text} ` } : rule)) };
  expect(unseenRules(both, other)).toEqual(other.rules.slice(1, 2));
  expect(unseenRules([], a)).toHaveLength(a.rules.length + a.sharedRules.length);
  expect(checkText(other.rules.slice(1, 2)).split("\n").slice(0, 2)).toEqual([
    "*nat",
    `-C ${a.rules[1]?.chain} ${a.rules[1]?.text} `,
  ]);
});

test("a check takes rules to a pod with a comment, as they once were made, for what they are", () => {
  const comment = '-m comment --comment "if: \\"eth0\\" name: \\"netA\\" id: \\"cont-a\\""';
  const commented = both.map((table) => ({
    ...table,
    rules: table.rules.map((rule) => rule.replace(" -j DNAT ", ` ${comment} -j DNAT `)),
  }));
  expect(commented).not.toEqual(both);
  expect(unseenRules(commented, a)).toEqual([]);
});

test("on an empty node everything is made once, the jump that masquerades first", () => {
  const lines = repairText([], [a, b], [], []).split("\n");
  const rules = lines.filter((line) => line !== "COMMIT");
  expect(new Set(rules).size).toBe(rules.length);
  expect(lines).toContain(
    '-I POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ',
  );
  expect(lines.indexOf(":CNI-HOSTPORT-LOCALNET - [0:0]")).toBe(1);
});

test("what is shared is not made again, and leftovers of the own chain are replaced", () => {
  expect(repairText(both, [a], [b], [])).toBe(
    [
      "*nat",
      `-D CNI-HOSTPORT-DNAT ${a.rules[3]?.text}`,
      `:${a.chain} - [0:0]`,
      ...a.rules.map((rule) => `-A ${rule.chain} ${rule.text}`),
      "COMMIT\n",
    ].join("\n"),
  );
});

test("another link or mark bit needs rules of its own", () => {
  const text = repairText(both, [plan("cont-c", "cni1")], [], ["cni0"]);
  expect(text.split("\n").slice(0, 5)).toEqual([
    "*raw",
    "-A CNI-HOSTPORT-LOCALNET -i cni1 -j DROP",
    "-D CNI-HOSTPORT-LOCALNET -i cni0 -j DROP",
    "COMMIT",
    "*nat",
  ]);
  expect(localnetLinks(both)).toEqual(["cni0"]);
});

test("only what is incomplete is put back", () => {
  expect(repairText(both, [], [a, b], [])).toBe("");
  const damaged = both.map((table) => ({
    ...table,
    rules: table.rules.filter((rule) => !rule.includes(`-j ${b.chain}`)),
  }));
  const text = repairText(damaged, [], [a, b], []);
  expect(text).toContain(b.chain);
  expect(text).not.toContain(a.chain);
});

test("removal takes the chain and what leads to it, and nothing else", () => {
  expect(removalText(both, [a.chain, "CNI-unknown"])).toBe(
    `*nat\n-D CNI-HOSTPORT-DNAT ${a.rules[3]?.text}\n-F ${a.chain}\n-X ${a.chain}\nCOMMIT\n`,
  );
  expect(removalText(both, ["CNI-unknown"])).toBe("");
  expect(savedRules(both, a.chain)).toHaveLength(3);
});

test("masquerading needs nothing shared", () => {
  const masquerade = masqueradePlan({ network: "n", containerId: "c", ifname: "eth0" }, [pod], [], 4);
  expect(attemptText(masquerade).split("\n").slice(0, 2)).toEqual(["*nat", `-N ${masquerade.chain}`]);
});

test("of what is missing with its chain a mapping is named first", () => {
  const rules = [...a.rules, ...a.sharedRules];
  expect(missingRule([], rules)).toBe(`${a.chain} ${a.rules.find((rule) => rule.text.includes("-j DNAT"))?.text}`);
  const shared = both.filter((table) => table.name === "nat");
  expect(missingRule(shared, rules)).toMatch(/^PREROUTING -s 127\.0\.0\.0\/8/);
  expect(missingRule(parseSaved(`*raw\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n`).concat(shared), rules)).toMatch(
    /^CNI-HOSTPORT-LOCALNET /,
  );
});

const forwarding = forwardingPlan(4, "CNI-ADMIN", 12);

test("rules that are only shared: an attempt asks for them, a repair makes them, and leaves people's chains as they are", () => {
  expect(
    attemptText(forwarding)
      .split("\n")
      .map((line) => line.split(" ")[0]),
  ).toEqual(["*filter", "-C", "-C", "-C", "COMMIT", ""]);
  const made = repairText([], [forwarding], [], []);
  expect(made.split("\n").slice(1, 3)).toEqual([":CNI-FORWARD - [0:0]", ":CNI-ADMIN - [0:0]"]);
  const saved = parseSaved(afterwards(made));
  expect(repairText(saved, [], [forwarding], [])).toBe("");
  expect(unseenRules(saved, forwarding)).toEqual([]);
  const people = parseSaved("*filter\n:CNI-ADMIN - [0:0]\n-A CNI-ADMIN -s 10.0.0.9/32 -j DROP\nCOMMIT\n");
  expect(repairText(people, [], [forwarding], [])).not.toContain(":CNI-ADMIN");
  /* Another mark is another rule. */
  expect(repairText(saved, [forwardingPlan(4, "CNI-ADMIN", 25)], [], [])).toContain("0x2000000/0x2000000");
});

test("they are read from a record as they were written", () => {
  const [head = "", ...lines] = formatPlan(forwarding);
  const read = emptyPlan(head.split(" "));
  if (read === null) throw new Error(head);
  expect(lines.every((line) => addToPlan(read, line))).toBe(true);
  expect(read).toEqual(forwarding);
  expect(addToPlan(read, "iptables-chain filter -X")).toBe(false);
  expect(addToPlan(read, "iptables-chain nat NOMAD-ADMIN")).toBe(false);
  expect(addToPlan(read, "iptables-chain mangle CNI-X")).toBe(false);
});
