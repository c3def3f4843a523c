/** A node of the demo's cluster: a network namespace, the agent in it, and its pods. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { type Caller, Failed, type Json, mustSucceed, plugins, typed } from "./stage.ts";

/** What all nodes have from the administrator and from Kubernetes. */
export interface ClusterFiles {
  /** The network's settings, a file. */
  readonly settings: string;
  /** HOST:PORT of the API server. */
  readonly server: string;
  /** The directory of the service account. */
  readonly account: string;
}

export interface Pod {
  readonly name: string;
  readonly v4: string;
  readonly v6: string;
}

type Entry = Json & { readonly type: string };

const POLL_MS = 10;
const PATIENCE_MS = 40_000;

export class DemoNode {
  readonly name: string;
  readonly number: number;
  /** Everything of this node that others have below /etc, /run and /var. */
  readonly directory: string;
  readonly #cluster: ClusterFiles;
  #agent: ChildProcess | null = null;
  #ended: Promise<unknown> = Promise.resolve();

  constructor(root: string, number: number, cluster: ClusterFiles) {
    this.name = `node${number}`;
    this.number = number;
    this.directory = join(root, this.name);
    this.#cluster = cluster;
  }

  get conflist(): string {
    return join(this.directory, "net.d/10-podwire.conflist");
  }

  get log(): string {
    return join(this.directory, "agent.log");
  }

  /** The running agent's process; 0 if none runs. */
  get pid(): number {
    return this.#agent?.pid ?? 0;
  }

  /** Starts the agent, as the DaemonSet does it. @param quiet the command is not shown */
  async startAgent(quiet = false): Promise<void> {
    const { settings, server, account } = this.#cluster;
    const agent = join(plugins, "podwire-agent");
    const words = [
      ...["--node", this.name, "--server", server],
      ...["--service-account", account, "--settings", settings],
      ...["--conf-dir", join(this.directory, "net.d"), "--run-dir", this.runDirectory],
    ];
    if (!quiet) {
      const lines = [words.slice(0, 4), words.slice(4, 8), words.slice(8), [`2>> ${this.log} &`]];
      const all = [[`ip netns exec ${this.name}`, agent], ...lines].map((line) => line.join(" "));
      typed(all.join(" \\\n      "));
    }
    const log = await open(this.log, "a");
    const child = spawn("ip", ["netns", "exec", this.name, agent, ...words], { stdio: ["ignore", "ignore", log.fd] });
    await log.close();
    this.#ended = once(child, "exit");
    this.#agent = child;
  }

  get runDirectory(): string {
    return join(this.directory, "agent");
  }

  /** Waits until the agent, which was told to end, has ended. */
  async agentEnded(): Promise<void> {
    await this.#ended;
    this.#agent = null;
  }

  /** The command that asks the agent whether the node is as it should be. */
  checkCommand(): string {
    const agent = join(plugins, "podwire-agent");
    return `ip netns exec ${this.name} ${agent} check --run-dir ${this.runDirectory}`;
  }

  /** Whether the agent says that the node is as it should be. */
  async isReady(): Promise<boolean> {
    const { exitCode } = await execa("sh", ["-c", this.checkCommand()], { reject: false, stdin: "ignore" });
    return exitCode === 0;
  }

  /** How many routes there are to the pods of another node: one of each IP version. */
  async routesTo(other: number): Promise<number> {
    const [v4, v6] = await Promise.all([
      execa("ip", ["-n", this.name, "route", "show", `10.244.${other}.0/24`]),
      execa("ip", ["-n", this.name, "-6", "route", "show", `fd44:0:0:${other}::/64`]),
    ]);
    return [v4.stdout, v6.stdout].filter((text) => text !== "").length;
  }

  /** Waits until something is so. @returns the milliseconds that it took @throws Failed with the end of the agent's log */
  async until(what: string, condition: () => Promise<boolean>): Promise<number> {
    const started = performance.now();
    for (;;) {
      if (await condition()) return performance.now() - started;
      if (this.#agent?.exitCode != null || performance.now() - started > PATIENCE_MS) break;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    const log = await readFile(this.log, "utf8").catch(() => "");
    throw new Failed(
      `${this.name}: this did not come in time: ${what}. Its agent's log ends with:\n${log.slice(-2000)}`,
    );
  }

  /** Attaches a pod with the list that the agent has written, as the runtime does. @param quiet the first call is not shown */
  async addPod(caller: Caller, quiet: boolean): Promise<Pod> {
    const name = `pod-${this.number}`;
    await execa("ip", ["netns", "add", name]);
    await execa("ip", ["-n", name, "link", "set", "lo", "up"]);
    const list = JSON.parse(await readFile(this.conflist, "utf8")) as Json & { plugins: Entry[] };
    const attachment = { CNI_CONTAINERID: `demo-${name}`, CNI_NETNS: `/run/netns/${name}`, CNI_IFNAME: "eth0" };
    let result: Json | null = null;
    for (const entry of list.plugins) {
      const config = {
        ...{ cniVersion: list.cniVersion, name: list.name },
        ...this.#withOwnLeases(entry),
        ...(result === null ? {} : { prevResult: result }),
      };
      const outcome = await caller.call("ADD", entry.type, config, attachment, this.name, quiet || result !== null);
      mustSucceed(outcome, `ADD of ${name}`);
      result = outcome.answer;
    }
    const ips = ((result?.ips ?? []) as { address: string }[]).map(({ address }) => address.split("/")[0] ?? "");
    return { name, v4: ips.find((ip) => !ip.includes(":")) ?? "", v6: ips.find((ip) => ip.includes(":")) ?? "" };
  }

  /** The nodes of the demo share one file system: each keeps its leases in a directory of its own. */
  #withOwnLeases(entry: Entry): Entry {
    if (entry.delegate === undefined) return entry;
    const delegate = entry.delegate as Json;
    const ipam = { ...(delegate.ipam as Json), dataDir: join(this.directory, "leases") };
    return { ...entry, delegate: { ...delegate, ipam } };
  }
}
