/** What the suites for a container runtime share: a node with containerd, a suite's plugins, and the pods there were. */

import assert from "node:assert";
import { basename } from "node:path";
import type { JsonObject } from "../../../testbed/harness.ts";
import { AGENT, buildImage, IMAGE } from "../image.ts";
import { sleep } from "../node.ts";
import { program } from "../programs.ts";
import { installSuite, type Suite } from "../suites.ts";
import { traces } from "../traces.ts";
import type { Cri, PodStatus } from "./client.ts";
import { Containerd, type ContainerdName } from "./containerd.ts";
import { networkOf, SERVER_PORT, wish } from "./network.ts";

export interface Pod {
  readonly number: number;
  readonly id: string;
  readonly status: PodStatus;
  readonly addresses: readonly string[];
}

/** Why a client cannot be run with a suite; empty if it can. */
export async function whatIsMissing(name: ContainerdName, suite: Suite): Promise<string> {
  if ((await program(name)).version === "") return `${name} could not be had`;
  for (const other of ["runc", "go", "libcni13"] as const)
    if ((await program(other)).version === "") return `${other} could not be had`;
  return suite.directory === "" ? `the plugins (${suite.name}) could not be had` : "";
}

export class Lab {
  readonly containerd: Containerd;
  /** What the image's program is called outside of containers. */
  readonly agent: string;
  /** The pods' network. */
  readonly network: JsonObject;
  #suite: Suite;
  readonly #ids = new Set<string>();
  readonly #addresses = new Set<string>();

  private constructor(containerd: Containerd, agent: string, suite: Suite, network: JsonObject) {
    this.containerd = containerd;
    this.network = network;
    this.#suite = suite;
    this.agent = agent;
  }

  static async create(name: ContainerdName, suite: Suite, network: JsonObject = networkOf(suite)): Promise<Lab> {
    const { agent } = await buildImage();
    const lab = new Lab(await Containerd.create(name), agent, suite, network);
    try {
      await lab.install(suite);
      await lab.containerd.node.configure("10-pods.conflist", network);
      await lab.networkIsReady();
      /* The reference's portmap fails if several first calls on a node meet: "CHAIN_USER_ADD failed (File exists)". */
      if (suite.kind === "reference") await lab.end([await lab.run(0)]);
    } catch (error) {
      await lab.remove();
      throw error;
    }
    return lab;
  }

  get cri(): Cri {
    return this.containerd.cri;
  }

  async remove(): Promise<void> {
    await this.containerd.remove();
  }

  /** Puts another suite's plugins in place of those there are, while pods run. */
  async install(suite: Suite): Promise<void> {
    await installSuite(this.containerd.node, suite);
    this.#suite = suite;
  }

  async networkIsReady(): Promise<void> {
    await until(async () => (await this.cri.network()).ready);
  }

  /** Starts a pod. */
  async run(number: number): Promise<Pod> {
    const id = await this.cri.runPod(wish(number));
    this.#ids.add(id);
    const status = await this.cri.status(id);
    for (const address of status.addresses) this.#addresses.add(address);
    return { number, id, status, addresses: status.addresses };
  }

  /** Starts pods all at once; with the reference's plugins the first by itself: on a fresh node its calls meet and fail. */
  async runMany(first: number, count: number): Promise<Pod[]> {
    const alone = this.#suite.kind === "reference" ? [await this.run(first)] : [];
    const numbers = Array.from({ length: count - alone.length }, (_, index) => first + alone.length + index);
    return [...alone, ...(await Promise.all(numbers.map((number) => this.run(number))))];
  }

  /** Ends pods all at once. */
  async end(pods: readonly { readonly id: string }[]): Promise<void> {
    await Promise.all(pods.map((pod) => this.cri.endPod(pod.id)));
  }

  /** Ends all pods that the runtime knows. */
  async endAll(): Promise<void> {
    const known = [...(await this.cri.pods()).keys()].map((id) => ({ id }));
    for (const { id } of known) this.#ids.add(id);
    await this.end(known);
  }

  /** Kills a pod's processes; what is left of it is for the runtime to find. */
  async kill(pod: Pod): Promise<void> {
    assert(pod.status.pid > 0, "the pod has no process");
    await this.containerd.node.exec("sh", ["-c", `kill -KILL ${pod.status.pid}`]);
  }

  /** Takes a pod's network namespace away. */
  async loseNamespace(pod: Pod): Promise<void> {
    await this.containerd.node.exec("ip", ["netns", "del", basename(pod.status.netns)]);
  }

  /** Runs `ip -j ARGS` in a pod. */
  async query(pod: Pod, ...args: string[]): Promise<JsonObject[]> {
    const words = [`--net=${pod.status.netns}`, "--", "ip", "-j", ...args];
    return JSON.parse(await this.containerd.node.exec("nsenter", words)) as JsonObject[];
  }

  /** Starts a container with a server in a pod; returns the container's ID. */
  async serve(pod: Pod): Promise<string> {
    return this.cri.runContainer(pod.id, wish(pod.number), IMAGE, [AGENT, "serve", String(SERVER_PORT)]);
  }

  /**
   * Asks a server from within a container, or from the node; returns the address that the server saw.
   * @param container the container's ID, null for the node
   */
  async ask(container: string | null, address: string, port: number): Promise<string> {
    const words = ["ask", address, String(port)];
    const answer =
      container === null
        ? await this.containerd.node.run(this.agent, words)
        : await this.cri.exec(container, [AGENT, ...words]);
    return answer.exitCode === 0 ? answer.stdout : `${answer.exitCode}: ${answer.stderr}`;
  }

  async pings(address: string): Promise<boolean> {
    return (await this.containerd.node.run("ping", ["-n", "-c", "1", "-w", "6", address])).exitCode === 0;
  }

  /**
   * What is left of all pods there ever were. What the kernel is about to remove does not count, nor what the reference is
   * known for: its bridge needs the namespace to find its masquerade.
   */
  async left(): Promise<string[]> {
    let found: string[] = [];
    for (let tries = 0; tries < 50; tries += 1) {
      found = await traces(this.containerd.node, { ids: [...this.#ids], addresses: [...this.#addresses] });
      if (this.#suite.kind === "reference") found = found.filter((line) => !/jump CNI-/.test(line));
      if (found.length === 0) break;
      await sleep(20);
    }
    return found;
  }
}

/** Waits until something is so, ten seconds at most. */
export async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries += 1) {
    if (await condition()) return;
    await sleep(50);
  }
  throw new Error(`still not so after ten seconds: ${condition}`);
}
