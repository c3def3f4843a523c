/**
 * `<plugin> explain`: what it prints is run as a script, and the plugin's own CHECK judges what comes of it. The scripts of
 * DEL take away all that ADD made but the leases and records; those of ADD then make it anew.
 */
import { readdir } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { type CallResult, expectError, expectSuccess, type JsonObject, type Netns } from "../../testbed/harness.ts";
import { BRIDGE, type Lab, withLab } from "./bridge-lab.ts";

const LEASE = { ips: [{ address: "10.77.0.5/24" }, { address: "fd77::5/64" }], routes: [{ dst: "0.0.0.0/0" }] };

/** A network whose plugins are called one after the other, as a runtime does. */
interface Chain {
  readonly entries: readonly JsonObject[];
  readonly results: readonly JsonObject[];
}

const PORTS = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] };

const CHAINS: Readonly<Record<string, readonly JsonObject[]>> = {
  "a bridge alone": [{ type: "bridge", bridge: BRIDGE }],
  "a gateway that masquerades with nftables": [{ isDefaultGateway: true, ipMasq: true, ipMasqBackend: "nftables" }],
  "a gateway that masquerades with iptables": [{ isGateway: true, ipMasq: true, ipMasqBackend: "iptables" }],
  "hairpin, isolation, checked sources": [
    { isGateway: true, hairpinMode: true, macspoofchk: true, ipSpoofCheck: true, portIsolation: true },
  ],
  "ports with nftables, and limits": [
    { isGateway: true, ipMasq: true },
    { type: "portmap", backend: "nftables", runtimeConfig: PORTS },
    { type: "bandwidth", ingressRate: 1_000_000, egressRate: 2_000_000 },
  ],
  "a link of its own, with checked sources": [
    { type: "ptp", bridge: undefined, ipMasq: true, ipSpoofCheck: true, mtu: 1400 },
  ],
  "pods that are kept apart, and let through": [{ isGateway: true }, { type: "firewall", ingressPolicy: "isolated" }],
  "ports with iptables": [{ isGateway: true }, { type: "portmap", backend: "iptables", runtimeConfig: PORTS }],
};

function entryOf(lab: Lab, entry: JsonObject, more: JsonObject = {}): JsonObject {
  return lab.config({ ...entry, ...more });
}

async function callPlugin(lab: Lab, pod: Netns, command: string, config: JsonObject): Promise<CallResult> {
  const [plugin, containerId] = [String(config.type), pod.name];
  return lab.sandbox.call({ plugin, command, containerId, ifname: "eth0", netns: pod.path, path: lab.path, config });
}

async function add(lab: Lab, pod: Netns, entries: readonly JsonObject[]): Promise<Chain> {
  await lab.answer(`${pod.name}.eth0`, JSON.stringify({ cniVersion: "1.1.0", ...LEASE }));
  const results: JsonObject[] = [];
  for (const entry of entries) {
    const previous = results.at(-1);
    const config = entryOf(lab, entry, previous === undefined ? {} : { prevResult: previous });
    results.push(expectSuccess(await callPlugin(lab, pod, "ADD", config)));
  }
  return { entries, results };
}

/** What a plugin explains, with the variables of a pod's call. */
async function explain(lab: Lab, pod: Netns, verb: string, config: JsonObject): Promise<string> {
  const result = await lab.sandbox.call({
    ...{ plugin: String(config.type), words: ["explain", verb], containerId: pod.name, ifname: "eth0" },
    ...{ netns: pod.path, path: lab.path, config },
  });
  expect([result.stdout, result.stderr, result.exitCode]).toEqual([expect.any(String), "", 0]);
  return result.stdout;
}

/** All links, packet filters and queueing disciplines of the node; nothing that counts or is numbered. */
async function stateOf(lab: Lab): Promise<string> {
  const links = await lab.host.exec("ip", ["-o", "link", "show"]);
  const filter = await lab.host.exec("nft", ["-s", "list", "ruleset"]);
  const shaping = (await lab.host.exec("tc", ["qdisc", "show"])).replace(/refcnt \d+/g, "");
  return [links.replace(/^\d+: /gm, "").replace(/@\S+|if\d+/g, ""), filter, shaping].join("\n");
}

/** The lines of a table in a listing; nft keeps no order of elements. */
function tableIn(ruleset: string, table: string): string[] {
  const [text = ""] = ruleset.split(`table ${table} {`)[1]?.split("\n}") ?? [];
  expect(text).toContain("chain");
  return text.split("\n").sort();
}

describe("the commands of", () => {
  test.each(Object.entries(CHAINS))("%s: they do what the plugins do", (_name, entries) =>
    withLab(async (lab) => {
      /* The tables and shared chains stay when a pod goes; this one has them made. */
      const [neighbour, pod] = [await lab.pod(), await lab.pod()];
      const bare = entries.filter(({ type }) => ["bridge", "ptp", undefined].includes(type as string | undefined));
      await lab.answer(
        `${neighbour.name}.eth0`,
        JSON.stringify({ cniVersion: "1.1.0", ips: [{ address: "10.77.0.9/24" }] }),
      );
      for (const entry of bare) expectSuccess(await callPlugin(lab, neighbour, "ADD", entryOf(lab, entry)));
      const { results } = await add(lab, pod, entries);
      const made = await stateOf(lab);
      const last = results.at(-1) ?? {};
      for (const entry of entries.toReversed()) {
        const script = await explain(lab, pod, "DEL", entryOf(lab, entry, { prevResult: last }));
        await lab.host.exec("sh", ["-ec", script]);
      }
      expect(await pod.links()).toEqual(["lo"]);
      expect(await lab.host.exec("nft", ["-s", "list", "ruleset"])).not.toContain(pod.name);
      expect(await stateOf(lab)).not.toBe(made);
      let at = 0;
      for (const entry of entries) {
        const previous = at === 0 ? results[0] : results[at - 1];
        const script = await explain(lab, pod, "ADD", entryOf(lab, entry, { prevResult: previous }));
        await lab.host.exec("sh", ["-ec", script]);
        at += 1;
      }
      for (const entry of entries) {
        expectSuccess(await callPlugin(lab, pod, "CHECK", entryOf(lab, entry, { prevResult: last })));
      }
      expect((await stateOf(lab)).split("\n").sort()).toEqual(made.split("\n").sort());
    }),
  );

  test("the first pod of a node: the tables are made as well", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const entries = CHAINS["ports with nftables, and limits"] ?? [];
      const { results } = await add(lab, pod, entries);
      const last = results.at(-1) ?? {};
      const made = await lab.host.exec("nft", ["-s", "list", "table", "inet", "podwire"]);
      for (const entry of entries.toReversed()) {
        const script = await explain(lab, pod, "DEL", entryOf(lab, entry, { prevResult: last }));
        await lab.host.exec("sh", ["-ec", script]);
      }
      await lab.host.exec("nft", ["delete", "table", "inet", "podwire"]);
      for (const [at, entry] of entries.entries()) {
        const previous = results[Math.max(at - 1, 0)];
        const script = await explain(lab, pod, "ADD", entryOf(lab, entry, { prevResult: previous }));
        await lab.host.exec("sh", ["-ec", script]);
      }
      const byHand = await lab.host.exec("nft", ["-s", "list", "table", "inet", "podwire"]);
      expect(byHand.split("\n").sort()).toEqual(made.split("\n").sort());
      for (const entry of entries) {
        expectSuccess(await callPlugin(lab, pod, "CHECK", entryOf(lab, entry, { prevResult: last })));
      }
    }));

  test("the first pod behind a firewall: its tables, the rules of iptables and the policy are made as well", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const entries = CHAINS["pods that are kept apart, and let through"] ?? [];
      const { results } = await add(lab, pod, entries);
      const made = await stateOf(lab);
      await lab.host.exec("nft", ["flush", "ruleset"]);
      const config = entryOf(lab, entries[1] ?? {}, { prevResult: results[0] });
      await lab.host.exec("sh", ["-ec", await explain(lab, pod, "ADD", config)]);
      expectSuccess(await callPlugin(lab, pod, "CHECK", config));
      /* The bridge's own table is not firewall's to make. */
      const byHand = await stateOf(lab);
      for (const table of ["inet podwire-firewall", "bridge podwire-firewall", "ip filter", "ip6 filter"]) {
        expect(tableIn(byHand, table)).toEqual(tableIn(made, table));
      }
      const other = { ...config, ingressPolicy: "same-bridge" };
      expectError(await callPlugin(lab, pod, "CHECK", other), { code: 101 });
      await lab.host.exec("sh", ["-ec", await explain(lab, pod, "ADD", other)]);
      expectSuccess(await callPlugin(lab, pod, "CHECK", other));
    }));

  test("GC remove what attachments have that are not valid", () =>
    withLab(async (lab) => {
      const [kept, stale] = [await lab.pod(), await lab.pod()];
      const entry = { isGateway: true, macspoofchk: true };
      await add(lab, kept, [entry]);
      await add(lab, stale, [entry]);
      const valid = { "cni.dev/valid-attachments": [{ containerID: kept.name, ifname: "eth0" }] };
      await lab.host.exec("sh", ["-ec", await explain(lab, stale, "GC", entryOf(lab, entry, valid))]);
      expect([await kept.links(), await stale.links()]).toEqual([["eth0", "lo"], ["lo"]]);
      expect(await lab.host.exec("nft", ["-s", "list", "ruleset"])).not.toContain(stale.name);
      expect(await explain(lab, stale, "GC", entryOf(lab, entry))).toMatch(/^# nothing: .*valid-attachments/);
    }));
});

describe("explain", () => {
  test("changes nothing, needs no namespace, and takes the gateway's neighbour for the address", () =>
    withLab(async (lab) => {
      const before = await stateOf(lab);
      const ipam = { type: "host-local", dataDir: `${lab.directory}/none`, ranges: [[{ subnet: "10.77.0.0/24" }]] };
      const text = await lab.sandbox.call({
        ...{ plugin: "bridge", words: ["explain"], path: lab.path },
        config: lab.config({ isGateway: true, ipam }),
      });
      expect(text.stdout).toContain("ip address add 10.77.0.2/24 dev eth0\n");
      expect(text.stdout).toContain("netns /run/netns/example");
      expect(await stateOf(lab)).toBe(before);
      await expect(lab.host.exec("ls", [`${lab.directory}/none`])).rejects.toThrow(/No such file/);
    }));

  test("needs no rights: what the packet filter has already is not known then", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const entries = CHAINS["pods that are kept apart, and let through"] ?? [];
      const { results } = await add(lab, pod, entries);
      const { stdout, exitCode } = await lab.sandbox.call({
        ...{
          plugin: "firewall",
          words: ["explain"],
          config: entryOf(lab, entries[1] ?? {}, { prevResult: results[0] }),
        },
        through: ["/usr/bin/setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--"],
      });
      expect([exitCode, stdout]).toEqual([
        0,
        expect.stringMatching(/cannot be read: .*not permitted\n# give the bridge /),
      ]);
    }));

  test("finds its plugin in a list, and the IPAM plugin in its entry", () =>
    withLab(async (lab) => {
      const ipam = { type: "host-local", ranges: [[{ subnet: "10.77.0.0/24" }]] };
      const list = { cniVersion: "1.0.0", name: "pods", plugins: [{ type: "bridge", bridge: "pwt7", ipam }] };
      const said = async (plugin: string) =>
        (await lab.sandbox.call({ plugin, words: ["explain", "add"], config: list })).stdout;
      expect(await said("bridge")).toContain("ip link add pwt7 ");
      expect(await said("host-local")).toContain("10.77.0.1-10.77.0.254, a file in /var/lib/cni/networks/pods");
      expect(await said("portmap")).toContain("the list has no plugin of type portmap");
    }));

  test("names the leases that DEL and GC release", () =>
    withLab(async (lab) => {
      const [kept, stale] = [await lab.pod(), await lab.pod()];
      const ipam = { type: "host-local", dataDir: `${lab.directory}/leases`, ranges: [[{ subnet: "10.77.0.0/24" }]] };
      const config = lab.config({ type: "host-local", ipam });
      for (const pod of [kept, stale]) expectSuccess(await callPlugin(lab, pod, "ADD", config));
      const lease = `${lab.directory}/leases/${String(config.name)}/10.77.0.3`;
      const line = `rm ${lease} # the lease of container ${stale.name} (eth0)\n`;
      expect(await explain(lab, stale, "DEL", config)).toBe(line);
      const valid = { "cni.dev/valid-attachments": [{ containerID: kept.name, ifname: "eth0" }] };
      expect(await explain(lab, kept, "GC", { ...config, ...valid })).toBe(line);
      expect(await explain(lab, kept, "GC", config)).toMatch(/^# nothing: .*valid-attachments/);
      await lab.host.exec("sh", ["-ec", await explain(lab, stale, "DEL", config)]);
      /* The address is free: with the lease gone, ADD of a third pod may have it. */
      await expect(lab.host.exec("ls", [lease])).rejects.toThrow(/No such file/);
    }));

  test("what a shell would read as a command stays one word of the script", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const name = "b;id>pwned";
      const bridged = await explain(lab, pod, "ADD", lab.config({ bridge: name, isGateway: true }));
      expect(bridged).toContain(`ip link add '${name}' address`);
      const previous = await lab.add(pod);
      const entry = {
        ...{ type: "portmap", backend: "iptables", runtimeConfig: PORTS, prevResult: previous },
        conditionsV4: ["-m", "comment", "--comment", "it's $(id>pwned) `id>pwned`"],
      };
      const published = await explain(lab, pod, "ADD", entryOf(lab, entry));
      for (const script of [bridged, published]) {
        await lab.host.exec("sh", ["-c", `cd ${lab.directory}\n${script}`]).catch(() => "a command may fail");
        expect(await readdir(lab.directory)).not.toContain("pwned");
      }
    }));

  test.each(["CHECK", "VERSION", "anything"])("refuses %s", (verb) =>
    withLab(async (lab) => {
      const result = await lab.sandbox.call({ plugin: "bridge", words: ["explain", verb], config: lab.config() });
      expectError(result, { code: 4, msg: /^bridge cannot explain / });
    }),
  );
});
