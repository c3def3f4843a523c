/** The tables themselves: what becomes of them where they are not as this version of Podwire makes them. */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess } from "../../testbed/harness.ts";
import { addressOf, type Mapping, type Node, withNode } from "./portmap-lab.ts";

const MAPPINGS: Mapping[] = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
const FAMILIES = ["inet", "bridge"] as const;

/** What puts tables in order. */
const CALLS: readonly (readonly [string, (node: Node) => Promise<unknown>])[] = [
  ["the ADD of another pod", (node) => node.pod({ bridge: { macspoofchk: true } })],
  [
    "STATUS",
    async (node) =>
      expectSuccess(await node.sandbox.call({ plugin: "bridge", command: "STATUS", config: node.bridgeConfig() })),
  ],
  ["repair", async (node) => expectSuccess(await node.repair())],
];

/** The comment of each table. */
async function comments(node: Node): Promise<string[]> {
  const texts = await Promise.all(FAMILIES.map((family) => node.nft("list", "table", family, "podwire")));
  return texts.map((text) => /comment "([^"]*)"/.exec(text)?.[1] ?? "");
}

test.each(CALLS)("a table of another ruleset is replaced by %s, and all elements are put back", (_name, call) =>
  withNode({}, async (node) => {
    const pod = await node.pod({ label: "web", mappings: MAPPINGS, bridge: { macspoofchk: true } });
    const before = await comments(node);
    expect(before[0]).toMatch(/^podwire ruleset [0-9a-f]{16}$/);
    expect(before[1]).not.toBe(before[0]);
    for (const family of FAMILIES) {
      await node.nft("delete", "table", family, "podwire");
      const chain = "chain prerouting { type filter hook prerouting priority -300; accept; }";
      await node.nft("add", `table ${family} podwire { comment "podwire ruleset 1"; ${chain}; }`);
    }
    expect(await node.ask(node.client, addressOf("node", 4), 8080)).toBe("refused");
    await call(node);
    expect(await comments(node)).toEqual(before);
    expect(await node.ask(node.client, addressOf("node", 4), 8080)).toMatch(/^web saw/);
    expectSuccess(await node.check(pod, MAPPINGS));
  }),
);

/** The chains of a table, with how many rules each has. */
async function chainsOf(node: Node, family: string): Promise<Map<string, number>> {
  const { nftables } = JSON.parse(await node.nft("-j", "list", "table", family, "podwire")) as {
    nftables: { chain?: { name: string }; rule?: { chain: string } }[];
  };
  const counts = new Map<string, number>();
  for (const { chain } of nftables) if (chain !== undefined) counts.set(chain.name, 0);
  for (const { rule } of nftables) if (rule !== undefined) counts.set(rule.chain, (counts.get(rule.chain) ?? 0) + 1);
  return counts;
}

describe("CHECK counts the rules of every chain", () => {
  /* portmap's conditions lead to `translate`, macspoofchk and ipSpoofCheck to the chains of the bridge's table. */
  const options = {
    ...{ mappings: MAPPINGS, portmap: { conditionsV4: ["iifname", "!=", "none"] } },
    bridge: { macspoofchk: true, ipSpoofCheck: true },
  };

  test.each(FAMILIES)("table %s: one that is added, and one that is deleted", (family) =>
    withNode({}, async (node) => {
      const pod = await node.pod(options);
      const check = () =>
        family === "inet"
          ? node.check(pod, MAPPINGS, options.portmap)
          : node.call("bridge", "CHECK", pod, node.bridgeConfig({ ...options.bridge, prevResult: pod.result }));
      expectSuccess(await check());
      const chains = await chainsOf(node, family);
      expect(chains.size).toBeGreaterThan(5);
      for (const [chain, rules] of chains) {
        /* Attachments' own chains are compared in another way. */
        if (chain.startsWith("conditions-")) continue;
        await node.nft("add", "rule", family, "podwire", chain, "counter");
        expectError(await check(), {
          code: 101,
          msg: new RegExp(`${chain} has ${rules + 1} rules, expected ${rules}`),
        });
        expectSuccess(await check());
        const listed = await node.nft("-a", "list", "chain", family, "podwire", chain);
        const handle =
          /# handle (\d+)\n(?!.*# handle \d+\n\t\})/.exec(listed.slice(listed.indexOf("\n\t\t")))?.[1] ?? "";
        await node.nft("delete", "rule", family, "podwire", chain, "handle", handle);
        expectError(await check(), { code: 101, msg: /rules, expected|is missing/ });
        expectSuccess(await check());
      }
      expect(await chainsOf(node, family)).toEqual(chains);
    }),
  );
});

describe("a table that somebody has switched off", () => {
  const sleep = (node: Node, family: string) => node.nft("add", `table ${family} podwire { flags dormant; }`);
  const options = { label: "web", mappings: MAPPINGS, bridge: { macspoofchk: true } };

  async function expectAwake(node: Node): Promise<void> {
    for (const family of FAMILIES) expect(await node.nft("list", "table", family, "podwire")).not.toContain("dormant");
    expect(await node.ask(node.client, addressOf("node", 4), 8080)).toMatch(/^web saw/);
  }

  test.each(CALLS)("is put in force again by %s", (_name, call) =>
    withNode({}, async (node) => {
      const pod = await node.pod(options);
      for (const family of FAMILIES) await sleep(node, family);
      expect(await node.ask(node.client, addressOf("node", 4), 8080)).toBe("refused");
      await call(node);
      await expectAwake(node);
      expectSuccess(await node.check(pod, MAPPINGS));
    }),
  );

  test("is a difference for CHECK of each plugin, which mends it", () =>
    withNode({}, async (node) => {
      const pod = await node.pod(options);
      await sleep(node, "inet");
      expectError(await node.check(pod, MAPPINGS), { code: 101, msg: /table inet podwire is dormant/ });
      await expectAwake(node);
      await sleep(node, "bridge");
      const config = node.bridgeConfig({ macspoofchk: true, prevResult: pod.bridged });
      expectError(await node.call("bridge", "CHECK", pod, config), {
        code: 101,
        msg: /table bridge podwire is dormant/,
      });
      await expectAwake(node);
      expectSuccess(await node.call("bridge", "CHECK", pod, config));
    }));
});

describe("a chain whose policy somebody has set to drop", () => {
  const CHAINS = ["inet podwire raw", "inet podwire prerouting", "inet podwire output", "inet podwire postrouting"];

  async function dropping(node: Node, chain: string): Promise<boolean> {
    return /policy drop/.test(await node.nft("list", "chain", ...chain.split(" ")));
  }

  test.each([...CHAINS, "bridge podwire prerouting"])(
    "is a difference for CHECK, and repair makes it accept: %s",
    (chain) =>
      withNode({}, async (node) => {
        const pod = await node.pod({ label: "web", mappings: MAPPINGS, bridge: { macspoofchk: true } });
        await node.nft("chain", ...chain.split(" "), "{ policy drop; }");
        expect(await dropping(node, chain)).toBe(true);
        const plugin = chain.startsWith("inet") ? "portmap" : "bridge";
        const config = node.bridgeConfig({ macspoofchk: true, prevResult: pod.bridged });
        const check = plugin === "portmap" ? node.check(pod, MAPPINGS) : node.call("bridge", "CHECK", pod, config);
        expectError(await check, { code: 101, msg: new RegExp(`chain ${chain} has the policy drop`) });
        await node.nft("chain", ...chain.split(" "), "{ policy drop; }");
        expectSuccess(await node.repair());
        expect(await dropping(node, chain)).toBe(false);
        expect(await node.ask(node.client, addressOf("node", 4), 8080)).toMatch(/^web saw/);
        expectSuccess(await node.check(pod, MAPPINGS));
      }),
  );
});
