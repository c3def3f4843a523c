/**
 * The agent as deploy/podwire.yaml starts it: with the manifest's arguments, variables, directories of the node, capabilities and
 * rights, and nothing else. What is left out is what only a runtime has: seccomp, AppArmor, SELinux.
 */
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readDocuments } from "../../deploy/expand.ts";
import { binDirectory, patience, repository, until } from "../../testbed/harness.ts";
import type { KubernetesObject } from "../../testbed/kubernetes/json.ts";
import { AgentCluster, CLUSTER_CIDRS } from "./cluster.ts";

/** linux/capability.h */
const CAPABILITIES: Readonly<Record<string, number>> = { NET_ADMIN: 12 };
const SOON = 15_000 * patience;

interface Pod {
  readonly containers: readonly {
    readonly command: readonly string[];
    readonly args: readonly string[];
    readonly env: readonly { name: string; value?: string }[];
    readonly securityContext: { capabilities: { add: readonly string[] } };
    readonly volumeMounts: readonly { name: string; mountPath: string; readOnly?: boolean }[];
  }[];
  readonly volumes: readonly { name: string; hostPath?: { path: string } }[];
}

const manifests = await readDocuments(join(repository, "deploy/podwire.yaml"));
const set = manifests.find(({ kind }) => kind === "DaemonSet") as unknown as { spec: { template: { spec: Pod } } };
const pod = set.spec.template.spec;

/** The command that starts the agent of a node as its container. @param without a volume that is left out */
async function launcher(cluster: AgentCluster, number: number, without: string): Promise<readonly string[]> {
  const [container] = pod.containers;
  if (container === undefined) throw new Error("there is no container");
  const [root, settings] = [join(cluster.directory, `root-${number}`), join(cluster.directory, `settings-${number}`)];
  await mkdir(root);
  await mkdir(settings);
  await writeFile(join(settings, "network.json"), JSON.stringify({ clusterCIDRs: CLUSTER_CIDRS }));
  /* Nodes of a test share the machine's directories: what a real one has for itself is in the test's. */
  const own: Readonly<Record<string, string>> = { "cni-conf": cluster.place(number, "conf"), settings };
  const mounts = container.volumeMounts
    .filter(({ name }) => name !== without)
    .map(({ name, mountPath, readOnly = false }) => ({
      source: own[name] ?? pod.volumes.find((volume) => volume.name === name)?.hostPath?.path,
      target: mountPath,
      readOnly,
    }));
  const account = "/var/run/secrets/kubernetes.io/serviceaccount";
  mounts.push({ source: cluster.place(number, "account"), target: account, readOnly: true });
  mounts.push({ source: cluster.directory, target: cluster.directory, readOnly: false });
  const values: Readonly<Record<string, string>> = {
    NODE_NAME: cluster.nodeName(number),
    PODWIRE_SERVER: "127.0.0.1:6443",
  };
  const spec = {
    root,
    mounts,
    program: join(binDirectory, "podwire-agent"),
    capabilities: container.securityContext.capabilities.add.map((name) => CAPABILITIES[name]),
    command: [...container.command, ...container.args, `--run-dir=${cluster.place(number, "run")}`],
    env: Object.fromEntries(container.env.map(({ name, value = "" }) => [name, values[name] ?? value])),
  };
  const apart = ["unshare", "--mount", "--propagation=slave", "--pid", "--fork", "--kill-child=SIGKILL"];
  return [...apart, "python3", join(import.meta.dirname, "pod.py"), JSON.stringify(spec)];
}

let cluster: AgentCluster;

beforeEach(async () => {
  cluster = await AgentCluster.create(2);
  cluster.server.authorization.load(manifests as unknown as KubernetesObject[]);
});
afterEach(() => cluster.remove());

/** Starts the agents, on nodes that do not forward. */
async function start(): Promise<void> {
  const commands = new Map<number, readonly string[]>();
  for (const { number, netns } of cluster.nodes) {
    for (const setting of ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"])
      await netns.exec("sysctl", ["-qw", `${setting}=0`]);
    commands.set(number, await launcher(cluster, number, ""));
  }
  cluster.launch = (number) => commands.get(number) ?? [];
  await cluster.start();
}

/** How often an address is named in the ruleset of a node. */
async function mentions(number: number, address: string): Promise<number> {
  return (await cluster.node(number).netns.exec("nft", ["list", "ruleset"])).split(address).length - 1;
}

describe("in its pod the agent", () => {
  it("makes the network of its node, with the manifest's rights", async () => {
    await start();
    const [one, two] = [await cluster.pod(1), await cluster.pod(2)];
    expect(await one.netns.ping(two.v4)).toBe(true);
    expect(await two.netns.ping(one.v6)).toBe(true);
    const asked = cluster.server.authorization.accesses.map(({ verb, resource, subresource }) =>
      [verb, resource, subresource].join(" ").trim(),
    );
    expect(new Set(asked)).toEqual(new Set(asked.filter((one) => ["list nodes", "watch nodes"].includes(one))));
  });

  it("sees which pods live: what is flushed comes back with them", async () => {
    await start();
    const one = await cluster.pod(1);
    const before = await mentions(1, one.v4);
    expect(before).toBeGreaterThan(0);
    await cluster.node(1).netns.exec("nft", ["flush", "ruleset"]);
    await until(async () => (await mentions(1, one.v4)) === before, SOON);
    expect(await mentions(1, one.v4), cluster.agents.get(1)?.log()).toBe(before);
  });

  it("ends where the node's settings are not mounted, and says so", async () => {
    const command = await launcher(cluster, 1, "proc-sys-net");
    cluster.launch = () => command;
    const { process, log } = await cluster.begin(1);
    if (process.exitCode === null) await once(process, "exit");
    cluster.agents.delete(1);
    expect(process.exitCode).toBe(1);
    expect(log()).toContain("/host/proc/sys/net does not exist\n  mount the node's /proc/sys/net there");
  });
});
