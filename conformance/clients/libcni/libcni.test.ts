/** The networks of examples/ under the real libcni: every operation in a process of its own, on a node of its own. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type JsonObject, repository, VERSIONS } from "../../../testbed/harness.ts";
import { Node } from "../node.ts";
import { program } from "../programs.ts";
import { installSuite, pluginsOf, ran, suites } from "../suites.ts";
import { traces } from "../traces.ts";
import { type AttachAnswer, type AttachRequest, addressesOf, attach, CACHE } from "./attach.ts";
import { buildAttach, type LibcniName } from "./build.ts";

interface NetworkList extends JsonObject {
  readonly name: string;
  readonly plugins: readonly (JsonObject & { readonly type: string; readonly ipam?: { readonly type: string } })[];
}

const EXAMPLES = join(repository, "examples");
const examples = readdirSync(EXAMPLES)
  .filter((name) => name.endsWith(".conflist"))
  .map((name) => ({ name, list: JSON.parse(readFileSync(join(EXAMPLES, name), "utf8")) as NetworkList }));

/** What a runtime hands on to networks that declare the capability. */
const CAPABILITIES: JsonObject = {
  portMappings: [{ hostPort: 30080, containerPort: 80, protocol: "tcp" }],
  bandwidth: { ingressRate: 10_000_000, ingressBurst: 1_000_000, egressRate: 5_000_000, egressBurst: 1_000_000 },
};

const libraries: { library: LibcniName; versions: readonly string[] }[] = [
  { library: "libcni11", versions: VERSIONS.filter((version) => version !== "1.1.0") },
  { library: "libcni13", versions: VERSIONS },
];
const runs = (await suites()).flatMap((suite) =>
  libraries.flatMap((entry) => examples.map((example) => ({ ...entry, ...example, suite }))),
);

describe.each(runs)("$name, $suite.name under $library", ({ library, versions, suite, name, list }) => {
  let node: Node | undefined;
  let executable = "";
  let client = "";
  let missing = "";

  beforeAll(async () => {
    const { version } = await program(library);
    client = `libcni ${version}`;
    if (version === "" || (await program("go")).version === "") missing = `${library} or Go could not be had`;
    if (suite.directory === "") missing = `${suite.name}could not be had`;
    if (missing !== "") return;
    const plugins = await pluginsOf(suite);
    const lacks = typesIn(list).find((type) => !plugins.includes(type));
    if (lacks !== undefined) missing = `${suite.name} has no ${lacks}`;
    if (missing !== "") return;
    executable = await buildAttach(library);
    node = await Node.create();
    await installSuite(node, suite);
  }, 300_000);
  afterAll(() => node?.remove());
  beforeEach((context) => {
    if (missing !== "") context.skip(missing);
  });
  afterEach(async ({ task }) => {
    if (task.result?.state !== "fail") return;
    await node?.powerOff();
    await node?.boot();
  });

  /** Does one operation that has to succeed. */
  const done = async (request: AttachRequest): Promise<AttachAnswer> => {
    if (node === undefined) throw new Error("no node");
    const answer = await attach(node, executable, request);
    expect(answer.error, `${request.operation} ${request.containerID ?? ""}`).toBeUndefined();
    return answer;
  };
  test.each(["as it stands", ...versions])("%s", async (version) => {
    if (node === undefined) throw new Error("no node");
    const config: JsonObject = { ...list, plugins: list.plugins.map(withPeers) };
    if (version !== "as it stands") {
      config.cniVersion = version;
      delete config.cniVersions;
    }
    const spoken = version === "as it stands" ? (versions.at(-1) ?? "") : version;
    const pods = ["a", "b"].map((letter) => ({
      containerID: `pod-${letter}-${spoken}`,
      ifname: "eth0",
      netns: `/run/netns/${letter}`,
    }));
    const [first, second] = pods;
    if (first === undefined || second === undefined) throw new Error("no pods");
    const addresses: string[] = [];
    for (const letter of ["a", "b"]) await node.exec("ip", ["netns", "add", letter]);
    const hasCheck = VERSIONS.indexOf(spoken) >= VERSIONS.indexOf("0.4.0");
    const hasGc = spoken === "1.1.0";

    const declared = list.plugins.flatMap((plugin) => Object.keys((plugin.capabilities ?? {}) as JsonObject));
    expect(new Set((await done({ operation: "validate", config })).capabilities)).toEqual(new Set(declared));
    if (hasGc) await done({ operation: "status", config });

    for (const pod of pods) {
      /* One published port each would be in each other's way. */
      const capabilityArgs = pod === first ? CAPABILITIES : { ...CAPABILITIES, portMappings: [] };
      const request = {
        config,
        ...pod,
        capabilityArgs,
        args: [
          ["IgnoreUnknown", "1"],
          ["K8S_POD_NAME", "x"],
        ] as const,
      };
      const { result = {} } = await done({ ...request, operation: "add" });
      expect(result.cniVersion).toBe(spoken);
      expect(addressesOf(result).length).toBe(rangesOf(list));
      addresses.push(...addressesOf(result));
      const { cached } = await done({ ...request, operation: "cached" });
      expect(cached).toEqual(result);
      if (hasCheck) await done({ ...request, operation: "check" });
    }
    expect(new Set(addresses).size).toBe(addresses.length);
    /* The reference's bridge is dead to IPv6 at first, while it looks for duplicate addresses. */
    const patience = suite.kind === "podwire" ? ["-W", "2"] : ["-w", "6"];
    for (const address of addresses)
      expect((await node.run("ping", ["-n", "-c", "1", ...patience, address])).exitCode, address).toBe(0);

    if (hasGc) {
      await done({ operation: "gc", config, valid: [{ containerID: second.containerID, ifname: second.ifname }] });
      const gone = { ids: [first.containerID], addresses: addresses.slice(0, addresses.length / 2) };
      const left = (await traces(node, gone)).filter((line) => /^(file|filter)/.test(line));
      expect(left, "after GC").toEqual([]);
      await done({ operation: "check", config, ...second, capabilityArgs: { ...CAPABILITIES, portMappings: [] } });
    }
    /* DEL with everything there, without the namespace, and once more. */
    await done({ operation: "del", config, ...first, capabilityArgs: CAPABILITIES });
    await node.exec("ip", ["netns", "del", "b"]);
    await done({ operation: "del", config, ...second, capabilityArgs: { ...CAPABILITIES, portMappings: [] } });
    await done({ operation: "del", config, ...second });
    await node.exec("ip", ["netns", "del", "a"]);
    await until(async () => (await traces(node as Node)).length === 0);
    const left = await traces(node, { ids: pods.map((pod) => pod.containerID), addresses });
    /* The reference's bridge needs the namespace to find its masquerade and its spoof check. */
    expect(left.filter((line) => suite.kind === "podwire" || !/jump CNI-|macspoofchk|cni-br-iface/.test(line))).toEqual(
      [],
    );
    expect((await node.run("find", [join(CACHE, "results"), "-type", "f"])).stdout, "libcni's cache").toBe("");
    ran(client, suite.name, name);
  });
});

/** The names of all executables that a network needs. */
function typesIn(list: NetworkList): string[] {
  return list.plugins.flatMap((plugin) =>
    plugin.ipam === undefined ? [plugin.type] : [plugin.type, plugin.ipam.type],
  );
}

/** The examples' list of nodes is where the examples are. */
function withPeers(plugin: JsonObject): JsonObject {
  return plugin.peersFile === undefined ? plugin : { ...plugin, peersFile: join(EXAMPLES, "overlay", "peers.ndjson") };
}

/** How many addresses a pod of the network gets. */
function rangesOf(list: NetworkList): number {
  const [first] = list.plugins;
  /* The overlay in front gives the addresses itself. */
  if (first?.type === "vxlan-overlay") return (first.podCIDRs as string[]).length;
  const ipam = first?.ipam as { ranges?: unknown[] } | undefined;
  return ipam === undefined ? 0 : (ipam.ranges?.length ?? 1);
}

/** Waits a second at most: links of a removed namespace go when the kernel gets to it. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 50 && !(await condition()); tries += 1)
    await new Promise((resolve) => setTimeout(resolve, 20));
}
