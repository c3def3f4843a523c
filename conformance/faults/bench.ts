/** Trying one fault after another on a laboratory, and judging what each leaves. */
import { stripVTControlCharacters } from "node:util";
import { expect } from "vitest";
import { type CallOptions, type CallResult, expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import type { Laboratory, Subject, Verb } from "./laboratory.ts";
import { difference, differenceBetween } from "./snapshot.ts";

/** What is done after a fault. */
export const NEXT = ["DEL", "GC", "ADD"] as const;
export type Next = (typeof NEXT)[number];

/** What a plugin that crashes says. */
const INTERNAL_ERROR = 999;

/** A call with a fault. */
export interface Faulty extends CallResult {
  /** Whether the call came to the fault. */
  readonly met: boolean;
  /** Resolves when nothing is under way any more; null if that is so when the call has ended. */
  readonly over: (() => Promise<void>) | null;
}

/** A fault to be tried. */
export interface Trial {
  readonly title: string;
  call(options: CallOptions): Promise<Faulty>;
  /** Whether the plugin may die of it without a word. */
  readonly mayDie: boolean;
  /** Whether it may end without a CNI error. */
  readonly mayBeSilent: boolean;
  readonly next: Next;
  /** The how manieth it is, for what goes by turns. */
  readonly index: number;
}

/** What is there: */
interface Expected {
  /** without the pod, before a call; */
  readonly bare: readonly string[];
  /** with the pod, before CHECK; */
  readonly before: readonly string[];
  /** with the pod; */
  readonly attached: readonly string[];
  /** with the pod, by a call that could not read what is new; */
  readonly blind: readonly string[];
  /** when it has gone again. */
  readonly detached: readonly string[];
}

/** The step that an attempt has come to, for messages. */
type Note = (step: string) => void;

export class Bench {
  readonly #subject: Subject;
  #verb: Verb = "ADD";
  failures: string[] = [];
  #laboratory: Laboratory | null = null;
  #expected: Expected = { bare: [], before: [], attached: [], blind: [], detached: [] };

  constructor(subject: Subject) {
    this.#subject = subject;
  }

  get laboratory(): Laboratory {
    if (this.#laboratory === null) throw new Error("not begun");
    return this.#laboratory;
  }

  /** Learns what is there with and without the pod. */
  async begin(verb: Verb): Promise<void> {
    this.failures = [];
    if (this.#verb === verb && this.#laboratory !== null) return;
    this.#verb = verb;
    await this.#learn();
  }

  async #learn(): Promise<void> {
    if (this.#laboratory === null) {
      this.#laboratory = await this.#subject.create();
      await this.#learnStates();
    }
    if (this.#verb !== "CHECK") return;
    const laboratory = this.#laboratory;
    const result = await laboratory.add();
    await laboratory.prepare(this.#verb);
    this.#expected = { ...this.#expected, before: await laboratory.state(result) };
    await laboratory.del(result);
  }

  async #learnStates(): Promise<void> {
    const { laboratory } = this;
    await laboratory.prepare("ADD");
    const bare = await laboratory.state(null);
    const result = await laboratory.add();
    const attached = await laboratory.state(result);
    await laboratory.del(result);
    const detached = await laboratory.state(null);
    expect(difference(detached, attached)).not.toEqual([]);
    const blind = laboratory.blind === null ? attached : await this.#learnBlind(laboratory.blind);
    this.#expected = { bare, before: bare, attached, blind, detached };
  }

  /** What an ADD leaves that cannot read what is new. */
  async #learnBlind(makeBlind: () => Promise<void>): Promise<string[]> {
    const { laboratory } = this;
    await laboratory.prepare("ADD");
    await makeBlind();
    const answer = await laboratory.call("ADD", null);
    const result = expectSuccess(answer);
    expect(laboratory.wasBlind(answer), answer.stderr).toBe(true);
    const state = await laboratory.state(result);
    await laboratory.del(result);
    await laboratory.prepare("ADD");
    return state;
  }

  /** A call of the verb without a fault, from the state and to the state that a fault has. */
  async rehearse<T>(verb: Verb, call: (options: CallOptions) => Promise<T>): Promise<T> {
    const { laboratory } = this;
    const result = verb === "ADD" ? null : await laboratory.add();
    await laboratory.prepare(verb);
    const answer = await call(laboratory.options(verb, result));
    if (verb === "GC") await laboratory.gc();
    else await laboratory.del(result);
    return answer;
  }

  async end(): Promise<void> {
    await this.#laboratory?.remove();
    this.#laboratory = null;
  }

  /** @returns whether the call came to the fault */
  async attempt(trial: Trial): Promise<boolean> {
    let step = "before";
    const note = (text: string): void => {
      step = text;
    };
    let faulty: Faulty | null = null;
    try {
      const result = this.#verb === "ADD" ? null : await this.laboratory.add();
      await this.laboratory.prepare(this.#verb);
      note("the call");
      faulty = await trial.call(this.laboratory.options(this.#verb, result));
      const known = await this.#judge(faulty, result, trial, note);
      await this.#continue(faulty, known, trial, note);
    } catch (error) {
      const text = stripVTControlCharacters((error as Error).message).slice(0, 1500);
      const said = `${faulty?.exitCode} ${faulty?.stdout.replace(/\s+/g, " ").slice(0, 300)}`;
      this.#fail(`${this.#verb} ${trial.title}\n  then ${trial.next}, at ${step}: ${text}\n  the call said: ${said}`);
      /* What is left must not be held against the next one. */
      await faulty?.over?.();
      await this.end();
      await this.#learn();
    }
    return faulty?.met ?? false;
  }

  #fail(text: string): void {
    this.failures.push(text);
    /* At once: a run of all points takes long. */
    process.stderr.write(`${this.#subject.name}: ${text}\n`);
  }

  /** What must hold when the call has ended. @returns the result of ADD as far as a runtime has it */
  async #judge(faulty: Faulty, result: JsonObject | null, trial: Trial, note: Note): Promise<JsonObject | null> {
    const { exitCode, json, stdout, over } = faulty;
    const verb = this.#verb;
    const { bare, before, attached, detached } = this.#expected;
    if (exitCode === 0) {
      note("what a call that succeeded leaves");
      const known = verb === "ADD" ? (json ?? null) : result;
      await this.#expectDone(known, this.laboratory.wasBlind(faulty));
      return known;
    }
    const isDead = trial.mayDie && (exitCode !== 1 || json?.code === INTERNAL_ERROR);
    if (!isDead) {
      note("the error");
      const proper =
        exitCode === 1 && typeof json?.code === "number" && typeof json.msg === "string" && json.msg !== "";
      if (!proper && !trial.mayBeSilent) throw new Error(`exit status ${exitCode} and no CNI error: ${stdout}`);
    }
    note("what a call that failed leaves");
    if (!isDead && verb === "ADD") await this.#expectState(bare, detached);
    if (verb === "CHECK" && over === null) await this.#expectState(before, attached, result);
    return result;
  }

  /** What a call leaves that succeeded. */
  async #expectDone(known: JsonObject | null, blind: boolean): Promise<void> {
    const verb = this.#verb;
    const expected = this.#expected;
    const attached = blind ? expected.blind : expected.attached;
    if (verb === "ADD" || verb === "CHECK") await this.#expectState(attached, attached, known);
    else if (verb === "DEL") await this.#expectDeleted();
    else if (this.laboratory.gcStandsAlone)
      await this.#expectState(blind ? expected.bare : expected.detached, expected.detached);
  }

  /** What a runtime does after a call, and what that leaves. */
  async #continue({ over }: Faulty, result: JsonObject | null, trial: Trial, note: Note): Promise<void> {
    const { laboratory } = this;
    const { bare, detached } = this.#expected;
    note(trial.next);
    if (trial.next === "GC") await laboratory.gc();
    else if (trial.next === "ADD") await this.#again(trial, note);
    else {
      /* The namespace may be gone when DEL comes. */
      const gone = laboratory.survivesItsPod && trial.index % 2 === 1;
      await laboratory.del(result, gone ? { netns: "" } : {});
    }
    note(`what ${trial.next} leaves`);
    await over?.();
    if (trial.next === "DEL") return this.#expectDeleted();
    if (trial.next === "ADD" || laboratory.gcCompletes) await this.#expectState(detached, detached);
    else await this.#expectState(bare, detached);
  }

  /** What DEL leaves; and where others bring the node up to date, what they do. */
  async #expectDeleted(): Promise<void> {
    const { bare, detached } = this.#expected;
    await this.#expectState(bare, detached);
    if (this.laboratory.delCompletes) return;
    await this.laboratory.tick();
    await this.#expectState(detached, detached);
  }

  /** ADD again: it must succeed and be what it would have been, and DEL must find it. */
  async #again(trial: Trial, note: Note): Promise<void> {
    const { laboratory } = this;
    const { repeated } = laboratory;
    const fresh = repeated === "fresh" || (repeated === "both" && trial.index % 2 === 1);
    if (fresh) laboratory.move();
    note(`ADD again in ${fresh ? "a fresh" : "the same"} namespace`);
    const result = await laboratory.add();
    note("the state that ADD leaves");
    await this.#expectState(this.#expected.attached, this.#expected.attached, result);
    note("CHECK");
    expectSuccess(await laboratory.call("CHECK", result));
    note("DEL after ADD");
    await laboratory.del(result);
  }

  /** Nothing must be there that neither has, and nothing be missing that both have. */
  async #expectState(
    one: readonly string[],
    other: readonly string[],
    result: JsonObject | null = null,
  ): Promise<void> {
    const differences = differenceBetween(one, other, await this.laboratory.state(result));
    if (differences.length > 0) throw new Error(differences.join("\n    "));
  }
}
