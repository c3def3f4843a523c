/**
 * A cluster whose nodes are namespaces: an API server of the testbed's, and on each node the built agent. Pods are attached by
 * real calls of the plugins, with the list that the agent has written.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { spreadMs } from "../../lib/kubernetes/backoff.ts";
import {
  binDirectory,
  call,
  expectSuccess,
  type JsonObject,
  Netns,
  patience,
  runProgram,
  temporaryDirectory,
  until,
} from "../../testbed/harness.ts";
import { ApiServer } from "../../testbed/kubernetes/api-server.ts";
import { type NodeParts, node as nodeObject } from "../../testbed/kubernetes/node-objects.ts";
import type { Execution } from "../../testbed/starter.ts";
import { type Node, Topology } from "../../testbed/topology.ts";

/** The port of 127.0.0.1 on which each node finds the API server. */
const PORT = 6443;
const SOON_MS = 100;
const GATEWAY = join(import.meta.dirname, "gateway.py");
export const CLUSTER_CIDRS = ["10.244.0.0/16", "fd44::/48"];

/** An agent that runs on a node. */
export interface RunningAgent {
  readonly process: ChildProcess;
  /** What it has logged. */
  readonly log: () => string;
}

export class AgentCluster extends Topology {
  readonly directory: string;
  readonly server: ApiServer;
  readonly agents = new Map<number, RunningAgent>();
  /** How the agent of a node is started in its network namespace; by default the executable with `words`. */
  launch: (number: number) => readonly string[] = (number) => [
    join(binDirectory, "podwire-agent"),
    ...this.words(number),
  ];
  readonly #gate: Server;
  readonly #gateways: ChildProcess[] = [];
  readonly #pods: Netns[] = [];
  readonly #settings: JsonObject;

  private constructor(directory: string, server: ApiServer, gate: Server, settings: JsonObject) {
    super(4, "unique");
    this.directory = directory;
    this.server = server;
    this.#gate = gate;
    this.#settings = settings;
  }

  /** Nodes without agents; the API server knows of them. @param settings further members of the network's settings */
  static async create(nodes: number, settings: JsonObject = {}): Promise<AgentCluster> {
    const directory = await temporaryDirectory();
    const server = await ApiServer.start();
    const gate = createServer((client) => {
      const upstream = connect(server.port, server.host);
      client.pipe(upstream).pipe(client);
      for (const socket of [client, upstream]) {
        socket.on("error", () => {});
        socket.on("close", () => {
          client.destroy();
          upstream.destroy();
        });
      }
    });
    gate.listen(join(directory, "gate"));
    await once(gate, "listening");
    const cluster = new AgentCluster(directory, server, gate, settings);
    try {
      await cluster.furnish(nodes);
      for (const { number } of cluster.nodes) cluster.put(number);
    } catch (error) {
      await cluster.remove();
      throw error;
    }
    return cluster;
  }

  override async remove(): Promise<void> {
    for (const number of [...this.agents.keys()]) await this.kill(number);
    for (const gateway of this.#gateways) gateway.kill("SIGKILL");
    this.#gate.close();
    await this.server.stop();
    await Promise.all(this.#pods.map((netns) => netns.remove()));
    await super.remove();
    await rm(this.directory, { recursive: true, force: true });
  }

  /** A name by which the node begins its first list at once: agents spread theirs over some seconds, by their names. */
  nodeName(number: number): string {
    for (let suffix = 0; ; suffix += 1) {
      const name = suffix === 0 ? `node-${number}` : `node-${number}.${suffix}`;
      if (spreadMs(name) < SOON_MS) return name;
    }
  }

  /** Makes a node known to the API server, or changes it. */
  put(number: number, parts: Partial<NodeParts> = {}): void {
    const { podCIDRs } = this.record(number);
    const addresses = [this.nodeIp(number, 4), this.nodeIp(number, 6)];
    this.server.put(nodeObject({ name: this.nodeName(number), addresses, podCidrs: podCIDRs, ...parts }));
  }

  /** The node's directory for files of a kind. */
  place(number: number, kind: "conf" | "run" | "account" | "leases"): string {
    return join(this.directory, `${kind}-${number}`);
  }

  get settingsFile(): string {
    return join(this.directory, "network.json");
  }

  /** Starts agents, by default on all nodes, and waits until they have brought their nodes to what they should be. */
  async start(numbers: readonly number[] = this.nodes.map(({ number }) => number)): Promise<void> {
    await Promise.all(numbers.map((number) => this.begin(number)));
    for (const number of numbers) await this.ready(number);
  }

  /**
   * Starts the agent of a node.
   * @param more arguments besides the usual ones
   * @param through a program that starts it, with its arguments: strace
   */
  async begin(number: number, more: readonly string[] = [], through: readonly string[] = []): Promise<RunningAgent> {
    const { netns } = this.node(number);
    const account = this.place(number, "account");
    for (const kind of ["conf", "account"] as const)
      await mkdir(this.place(number, kind), { recursive: true, mode: 0o755 });
    await writeFile(join(account, "token"), this.server.token);
    await writeFile(join(account, "ca.crt"), this.server.caPem);
    await writeFile(this.settingsFile, JSON.stringify({ clusterCIDRs: CLUSTER_CIDRS, ...this.#settings }));
    await this.#openGateway(netns);
    const words = [`--net=${netns.path}`, "--", ...through, ...this.launch(number), ...more];
    const child = spawn("nsenter", words, { stdio: ["ignore", "ignore", "pipe"] });
    let text = "";
    child.stderr?.setEncoding("utf8").on("data", (part: string) => {
      text += part;
    });
    const agent = { process: child, log: () => text };
    this.agents.set(number, agent);
    return agent;
  }

  /** The agent's arguments on a node. */
  words(number: number): string[] {
    return [
      `--node=${this.nodeName(number)}`,
      `--server=127.0.0.1:${PORT}`,
      `--service-account=${this.place(number, "account")}`,
      `--settings=${this.settingsFile}`,
      `--conf-dir=${this.place(number, "conf")}`,
      `--run-dir=${this.place(number, "run")}`,
    ];
  }

  async #openGateway(netns: Netns): Promise<void> {
    const words = [`--net=${netns.path}`, "--", "python3", GATEWAY, join(this.directory, "gate"), `${PORT}`];
    const child = spawn("nsenter", words, { stdio: ["ignore", "pipe", "ignore"] });
    this.#gateways.push(child);
    /* The one of an earlier agent of this node has the port already; then this one ends. */
    await Promise.race([once(child, "exit"), child.stdout === null ? null : once(child.stdout, "data")]);
  }

  /** Calls podwire-agent on a node with another word: "check", "status". */
  async ask(number: number, word: string): Promise<Execution> {
    const program = join(binDirectory, "podwire-agent");
    const words = [`--net=${this.node(number).netns.path}`, "--", program, word, ...this.words(number)];
    return runProgram("nsenter", words, { reject: false });
  }

  /** Waits until a node is as it should be. */
  async ready(number: number): Promise<void> {
    const isReady = await until(async () => (await this.ask(number, "check")).exitCode === 0, 20_000 * patience);
    if (isReady) return;
    const { stdout } = await this.ask(number, "check");
    throw new Error(`node ${number} does not become ready: ${stdout}\n${this.agents.get(number)?.log() ?? ""}`);
  }

  /** Ends an agent at once. */
  async kill(number: number, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const agent = this.agents.get(number);
    if (agent === undefined) return;
    this.agents.delete(number);
    if (agent.process.exitCode !== null || agent.process.signalCode !== null) return;
    const ended = once(agent.process, "exit");
    agent.process.kill(signal);
    await ended;
  }

  /** The list of plugins that the agent of a node has written; null if there is none. */
  async conflist(number: number): Promise<JsonObject | null> {
    const path = join(this.place(number, "conf"), "10-podwire.conflist");
    return existsSync(path) ? (JSON.parse(await readFile(path, "utf8")) as JsonObject) : null;
  }

  /** The networks of pods to which a node has routes of the overlay. */
  async routes(number: number): Promise<string[]> {
    const { netns } = this.node(number);
    const both = [
      await netns.query("route", "show", "proto", "112"),
      await netns.query("-6", "route", "show", "proto", "112"),
    ];
    return both
      .flat()
      .map(({ dst }) => String(dst))
      .filter((dst) => dst.startsWith("10.") || dst.startsWith("fd44"))
      .sort();
  }

  /** The networks of nodes' pods, as `routes` has them. */
  podCidrs(...numbers: number[]): string[] {
    return numbers.flatMap((number) => this.record(number).podCIDRs).sort();
  }

  /** Attaches a pod, as a runtime does it with the list that the agent has written. @returns its namespace and addresses */
  async pod(number: number): Promise<{ netns: Netns; v4: string; v6: string }> {
    const list = await this.conflist(number);
    if (list === null) throw new Error(`node ${number} has no list of plugins`);
    const netns = await Netns.create("pod");
    this.#pods.push(netns);
    const [overlay] = list.plugins as JsonObject[];
    const delegate = (overlay?.delegate ?? {}) as JsonObject;
    const ipam = { ...(delegate.ipam as JsonObject), dataDir: this.place(number, "leases") };
    const config = {
      ...{ cniVersion: "1.0.0", name: list.name, ...overlay },
      delegate: { ...delegate, ipam },
    };
    const result = expectSuccess(
      await call({
        ...{ plugin: "vxlan-overlay", command: "ADD", config, inside: this.node(number).netns },
        ...{ containerId: netns.name, netns: netns.path, ifname: "eth0" },
      }),
    );
    const ips = (result.ips as { address: string }[]).map(({ address }) => address.replace(/\/\d+$/, ""));
    const [v4 = "", v6 = ""] = [ips.find((ip) => !ip.includes(":")), ips.find((ip) => ip.includes(":"))];
    return { netns, v4, v6 };
  }
}

export type { Node };
