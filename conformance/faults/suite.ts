/**
 * Faults at every system call of a plugin's verbs. After each: either the call has done all it should, or what a runtime
 * does next (DEL, GC, ADD again) leaves exactly what was there before.
 *
 * PODWIRE_FAULTS=all tries every point; otherwise each test has some seconds and tries points spread evenly over the call.
 */
import { stripVTControlCharacters } from "node:util";
import { afterAll, describe, expect, test } from "vitest";
import { expectSuccess, type JsonObject } from "../harness.ts";
import { Laboratory, type Subject, type Verb } from "./laboratory.ts";
import { difference } from "./snapshot.ts";
import { type Effect, errorsOf, injection, type Point, pointsOf, type Traced } from "./strace.ts";
import type { FaultCount } from "./table.ts";

const ALL = process.env.PODWIRE_FAULTS === "all";
/** How many points a test tries if not all. */
const SAMPLE = Number(process.env.PODWIRE_FAULTS_SAMPLE ?? 6);
const LIMIT_MS = 1_800_000;
const VERBS: readonly Verb[] = ["ADD", "DEL", "GC", "CHECK"];

/** What is done after a kill. */
const NEXT = ["DEL", "GC", "ADD"] as const;
type Next = (typeof NEXT)[number];

/** What is there without and with the pod. */
interface Expected {
  readonly detached: readonly string[];
  readonly attached: readonly string[];
}

interface Trial {
  readonly point: Point;
  readonly effect: Effect;
  readonly next: Next;
  /** The how manieth it is, for what goes by turns. */
  readonly index: number;
}

export function describeFaults(subject: Subject): void {
  describe(subject.name, () => {
    const bench = new Bench(subject);
    afterAll(() => bench.end());
    for (const verb of VERBS) {
      test(
        `killed at every system call of ${verb}`,
        async ({ task }) => {
          const points = await run(bench, verb, (all) => {
            const nexts: readonly Next[] = verb === "CHECK" ? ["DEL"] : NEXT;
            return all.flatMap((point, i) => nexts.map((next) => ({ point, effect: "signal=KILL", next, index: i })));
          });
          const count: FaultCount = { subject: subject.name, verb, kind: "killed", points };
          task.meta.faults = count;
        },
        LIMIT_MS,
      );
      test(
        `an error from every system call of ${verb}`,
        async ({ task }) => {
          const points = await run(bench, verb, (all) =>
            all.flatMap((point, index) =>
              errorsOf(point).map((error) => ({ point, effect: `error=${error}`, next: "DEL" as const, index })),
            ),
          );
          const count: FaultCount = { subject: subject.name, verb, kind: "errors", points };
          task.meta.faults = count;
        },
        LIMIT_MS,
      );
    }
  });
}

/** Tries all faults, or a sample; fails with a list of those that left something. @returns how many were met */
async function run(bench: Bench, verb: Verb, plan: (points: readonly Point[]) => Trial[]): Promise<number> {
  const trials = plan(await bench.begin(verb));
  const chosen = ALL ? trials : sample(trials, SAMPLE);
  let met = 0;
  for (const trial of chosen) if (await bench.attempt(trial)) met += 1;
  expect(bench.failures.join("\n"), `${met} faults`).toBe("");
  expect(met).toBeGreaterThan(chosen.length / 2);
  return met;
}

function sample<T>(items: readonly T[], count: number): T[] {
  /* A step that has no divisor with the cycles of what follows a fault: all of them are in the sample. */
  const step = Math.max(1, Math.floor(items.length / count));
  return items.filter((_, i) => i % (step % 3 === 0 ? step + 1 : step) === 0);
}

/** One plugin: its laboratory, and the verb that is tried. */
class Bench {
  readonly subject: Subject;
  verb: Verb = "ADD";
  failures: string[] = [];
  #laboratory: Laboratory | null = null;
  #expected: Expected = { detached: [], attached: [] };

  constructor(subject: Subject) {
    this.subject = subject;
  }

  get laboratory(): Laboratory {
    if (this.#laboratory === null) throw new Error("not begun");
    return this.#laboratory;
  }

  /** Learns what is there with and without the pod, and the verb's system calls. */
  async begin(verb: Verb): Promise<Point[]> {
    this.verb = verb;
    this.failures = [];
    return this.#learn();
  }

  async #learn(): Promise<Point[]> {
    this.#laboratory ??= await Laboratory.create(this.subject);
    const laboratory = this.#laboratory;
    const detached = await laboratory.state();
    const result = await laboratory.add();
    const attached = await laboratory.state(result);
    expect(difference(detached, attached)).not.toEqual([]);
    this.#expected = { detached, attached };
    const before = await this.#settle(result);
    const { lines, exitCode } = await laboratory.traced(this.verb, before);
    expect(exitCode).toBe(0);
    if (this.verb !== "GC") await laboratory.del();
    else await laboratory.gc();
    return pointsOf(lines);
  }

  /** The state that the verb begins from: ADD without the pod, others with it. */
  async #settle(result: JsonObject): Promise<JsonObject | null> {
    if (this.verb !== "ADD") return result;
    await this.laboratory.del(result);
    return null;
  }

  async end(): Promise<void> {
    await this.#laboratory?.remove();
    this.#laboratory = null;
  }

  /** @returns whether the call came to the point */
  async attempt(trial: Trial): Promise<boolean> {
    const { point, effect, next } = trial;
    const title = `${this.verb} ${point.name} ${point.n} ${effect}, then ${next}: ${point.line.slice(0, 100)}`;
    let step = "before";
    const note = (text: string): void => {
      step = text;
    };
    let traced: Traced | null = null;
    try {
      const result = this.verb === "ADD" ? null : await this.laboratory.add();
      note("the call");
      traced = await this.laboratory.traced(this.verb, result, injection(point, effect));
      if (effect.startsWith("error")) await this.#afterError(traced, result, point, note);
      else await this.#afterKill(result, trial, note);
      return traced.met;
    } catch (error) {
      const text = stripVTControlCharacters((error as Error).message).slice(0, 1500);
      this.#fail(
        `${title}\n  at ${step}: ${text}\n  the call said: ${traced?.exitCode} ${traced?.stdout.replace(/\s+/g, " ").slice(0, 300)}`,
      );
      /* What is left must not be held against the next one. */
      await this.end();
      await this.#learn();
      return traced?.met ?? false;
    }
  }

  #fail(text: string): void {
    this.failures.push(text);
    /* At once: a run of all points takes long. */
    process.stderr.write(`${this.subject.name}: ${text}\n`);
  }

  async #expectState(wanted: readonly string[], result: JsonObject | null = null): Promise<void> {
    const differences = difference(wanted, await this.laboratory.state(result));
    if (differences.length > 0) throw new Error(differences.join("\n    "));
  }

  async #afterKill(result: JsonObject | null, trial: Trial, note: (text: string) => void): Promise<void> {
    const { laboratory } = this;
    if (this.verb === "CHECK") {
      note("the state that CHECK leaves");
      await this.#expectState(this.#expected.attached, result);
    }
    if (trial.next === "GC") {
      note("GC");
      await laboratory.gc();
    } else if (trial.next === "ADD") {
      await this.#again(trial, note);
    } else {
      note("DEL");
      /* The namespace may be gone when DEL comes; the link that it had is then gone with it, or bridge's to remove. */
      const gone = this.subject.chained === null && trial.index % 2 === 1;
      await laboratory.del(result, gone ? { netns: "" } : {});
    }
    note(`what ${trial.next} leaves`);
    await this.#expectState(this.#expected.detached);
  }

  /** ADD again: it must succeed and be what it would have been, and DEL must find it. */
  async #again(trial: Trial, note: (text: string) => void): Promise<void> {
    const { laboratory } = this;
    const { repeated } = this.subject;
    const fresh = repeated === "fresh" || (repeated === "both" && trial.index % 2 === 1);
    if (fresh) laboratory.move();
    note(`ADD again in ${fresh ? "a fresh" : "the same"} namespace`);
    const result = await laboratory.add();
    note("the state that ADD leaves");
    await this.#expectState(this.#expected.attached, result);
    note("CHECK");
    expectSuccess(await laboratory.call("CHECK", result));
    note("DEL after ADD");
    await laboratory.del(result);
  }

  async #afterError(
    traced: Traced,
    result: JsonObject | null,
    point: Point,
    note: (text: string) => void,
  ): Promise<void> {
    const { laboratory, verb } = this;
    const { attached, detached } = this.#expected;
    let known = result;
    if (traced.exitCode === 0) {
      note("what a call that succeeded leaves");
      if (verb === "ADD") known = traced.json ?? null;
      if (verb === "ADD" || verb === "CHECK") await this.#expectState(attached, known);
      else if (verb === "DEL") await this.#expectState(detached);
    } else {
      note("the error");
      /* What cannot be printed is not. */
      const isDeath = MEMORY.includes(point.name) && traced.exitCode === null;
      if (isDeath) return this.#afterKill(result, { point, effect: "", next: "DEL", index: 0 }, note);
      if (!/^write\(1,/.test(point.line)) expectProper(traced);
      note("what a call that failed leaves");
      if (verb === "ADD") await this.#expectState(detached);
      if (verb === "CHECK") await this.#expectState(attached, result);
    }
    note("DEL");
    if (verb === "GC") await laboratory.gc();
    else await laboratory.del(known);
    note("what DEL leaves");
    await this.#expectState(detached);
  }
}

/** A program without memory has none to say so: it ends at once, as if it were killed. */
const MEMORY: readonly string[] = ["mmap", "brk", "mremap"];

function expectProper(traced: Traced): void {
  const { exitCode, json, stdout } = traced;
  const proper = exitCode === 1 && typeof json?.code === "number" && typeof json.msg === "string" && json.msg !== "";
  if (!proper) throw new Error(`exit status ${exitCode} and no CNI error: ${stdout}`);
}
