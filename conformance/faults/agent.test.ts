/**
 * The node agent killed at every system call of a run: from its start until the node is ready, and after a change of the
 * cluster. After each kill another agent brings the node to exactly what the cluster says, and the pods of nodes that have not
 * changed were reachable all the time.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { patience, until } from "../../testbed/harness.ts";
import { AgentCluster } from "../agent/cluster.ts";
import { injection, isOuter, type Point, pointsOf } from "./strace.ts";
import type { FaultCount } from "./table.ts";

const STRACE = "/usr/bin/strace";
const ALL = process.env.PODWIRE_FAULTS === "all";
const SAMPLE = Number(process.env.PODWIRE_FAULTS_SAMPLE ?? 4);
const LIMIT_MS = 3_600_000;
const SOON = 20_000 * patience;
/** What a run still does when its routes are there. */
const REST_MS = 500;

/** The node whose agent is killed, one that stays as it is, and one whose pods' networks change each time. */
const [HERE, STEADY, CHANGING] = [1, 2, 3];

let cluster: AgentCluster;

afterEach(async () => {
  await cluster.remove();
});

/** A run of the agent that strace watches. */
abstract class Run {
  #turn = 0;

  /** Starts the run, with a change of the cluster to follow. @param options strace's @returns strace */
  abstract begin(options: readonly string[]): Promise<ChildProcess>;

  /** An agent runs and is through. */
  abstract prepare(): Promise<void>;

  get log(): string {
    return join(cluster.directory, "trace");
  }

  async trace(): Promise<string> {
    return readFile(this.log, "utf8");
  }

  change(): void {
    this.#turn += 1;
    cluster.put(CHANGING, { podCidrs: cluster.record(this.#number).podCIDRs });
  }

  get #number(): number {
    return 30 + (this.#turn % 2);
  }

  get wanted(): string[] {
    return cluster.podCidrs(STEADY, this.#number);
  }

  async isDone(): Promise<boolean> {
    return `${await cluster.routes(HERE)}` === `${this.wanted}`;
  }
}

/** From the start of an agent: the cluster has changed while none ran. */
class Start extends Run {
  override async prepare(): Promise<void> {
    await cluster.kill(HERE);
  }

  override async begin(options: readonly string[]): Promise<ChildProcess> {
    this.change();
    const { process: child } = await cluster.begin(HERE, [], [STRACE, "-o", this.log, ...options]);
    return child;
  }
}

/** A change of the cluster while the agent runs. */
class Follow extends Run {
  override async prepare(): Promise<void> {}

  override async begin(options: readonly string[]): Promise<ChildProcess> {
    const pid = cluster.agents.get(HERE)?.process.pid;
    const child = spawn(STRACE, ["-o", this.log, "-p", `${pid}`, ...options], { stdio: ["ignore", "ignore", "pipe"] });
    if (child.stderr !== null) await once(child.stderr, "data");
    this.change();
    return child;
  }
}

/** Ends what strace has started or is attached to, and strace with it. */
async function endAgent(strace: ChildProcess): Promise<void> {
  if (strace.exitCode !== null || strace.signalCode !== null) return;
  const ended = once(strace, "exit");
  const children = await readFile(`/proc/${strace.pid}/task/${strace.pid}/children`, "utf8").catch(() => "");
  for (const pid of children.split(" ").filter((text) => text.trim() !== "")) process.kill(Number(pid), "SIGKILL");
  const attached = cluster.agents.get(HERE)?.process;
  if (attached !== strace) attached?.kill("SIGKILL");
  await ended;
}

/** Another agent, which does what is left to do. */
async function recover(run: Run): Promise<void> {
  cluster.agents.delete(HERE);
  await cluster.begin(HERE);
  await cluster.ready(HERE);
  await until(() => run.isDone(), SOON);
}

/** The system calls of a run, in their order. */
async function rehearse(run: Run): Promise<Point[]> {
  await run.prepare();
  const strace = await run.begin([]);
  expect(await until(() => run.isDone(), SOON), cluster.agents.get(HERE)?.log()).toBe(true);
  await sleep(REST_MS);
  await endAgent(strace);
  const lines = (await run.trace()).split("\n").filter((line) => /^\w+\(/.test(line));
  await recover(run);
  return pointsOf(lines);
}

/** Kills the agent at a point. @returns what is wrong afterwards, "" if nothing; null if the run did not come to the point */
async function attempt(run: Run, point: Point): Promise<string | null> {
  await run.prepare();
  const strace = await run.begin(injection(point, "signal=KILL"));
  const hasEnded = (): boolean => strace.exitCode !== null || strace.signalCode !== null;
  await until(async () => hasEnded() || (await run.isDone()), SOON);
  if (!hasEnded()) await until(hasEnded, REST_MS);
  /* Before the test itself ends what is left. */
  const wasMet = hasEnded();
  await endAgent(strace);
  const steady = cluster.podCidrs(STEADY);
  const after = await cluster.routes(HERE);
  const lost = steady.filter((cidr) => !after.includes(cidr));
  await recover(run);
  const routes = await cluster.routes(HERE);
  if (lost.length > 0) return `after ${point.name} ${point.n} the routes to ${lost} were missing`;
  if (`${routes}` !== `${run.wanted}`) return `after ${point.name} ${point.n} the next agent left ${routes}`;
  return wasMet ? "" : null;
}

/** Packets from one pod to another, twenty a second. @returns what ends them, and says how many had no answer */
function pingStream(from: { path: string }, address: string): () => Promise<number> {
  const ping = spawn("nsenter", [`--net=${from.path}`, "--", "ping", "-n", "-q", "-i", "0.05", address]);
  let text = "";
  ping.stdout.setEncoding("utf8").on("data", (part: string) => {
    text += part;
  });
  return async () => {
    const ended = once(ping, "exit");
    ping.kill("SIGINT");
    await ended;
    const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(text) ?? [];
    if (sent === undefined || received === undefined) throw new Error(`ping says: ${text}`);
    /* The last one may have been on its way. */
    return Math.max(0, Number(sent) - Number(received) - 1);
  };
}

function chosen(points: readonly Point[]): Point[] {
  if (ALL) return [...points];
  const outer = points.filter(isOuter);
  const step = Math.max(1, Math.floor(outer.length / SAMPLE));
  return outer.filter((_, i) => i % step === 0);
}

const RUNS = [
  { verb: "start", run: new Start() },
  { verb: "follow", run: new Follow() },
];

describe("podwire-agent", () => {
  for (const { verb, run } of RUNS) {
    test(
      `each step of ${verb}: killed at every system call`,
      async ({ task }) => {
        cluster = await AgentCluster.create(3);
        await cluster.start([HERE, STEADY]);
        const [one, two] = [await cluster.pod(HERE), await cluster.pod(STEADY)];
        expect(await one.netns.ping(two.v4)).toBe(true);
        const points = await rehearse(run);
        const endPing = pingStream(one.netns, two.v4);
        const failures: string[] = [];
        let met = 0;
        const tried = chosen(points);
        for (const point of tried) {
          const failure = await attempt(run, point);
          if (failure !== null) met += 1;
          if (failure !== null && failure !== "") failures.push(failure);
        }
        const lost = await endPing();
        if (lost > 0) failures.push(`${lost} packets between pods were lost`);
        process.stderr.write(
          `agent ${verb}: ${points.length} system calls, ${met} kills, ${failures.length} failures\n`,
        );
        const count: FaultCount = {
          subject: "podwire-agent",
          verb,
          kind: "killed",
          points: met,
          leaks: failures.length,
        };
        task.meta.faults = count;
        /* The number of calls varies with the timing, but not by half. */
        expect(met).toBeGreaterThan(tried.length / 2);
        expect(failures.join("\n"), `${met} faults`).toBe("");
      },
      LIMIT_MS,
    );
  }
});
