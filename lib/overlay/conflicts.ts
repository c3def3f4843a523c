/** Which records of a list contradict each other, and which of them are rejected so that the others can be used. Pure. */
import { numberAt, textAt } from "../lists.ts";
import { THIS_NODE } from "./pod-networks.ts";

export class Conflicts {
  readonly #rows: number[] = [];
  readonly #others: number[] = [];
  readonly #problems: string[] = [];

  get count(): number {
    return this.#rows.length;
  }

  /** Adds that two records cannot both be right. @param other THIS_NODE if the row contradicts what is known of this node */
  add(row: number, other: number, problem: string): void {
    this.#rows.push(row);
    this.#others.push(other);
    this.#problems.push(problem);
  }

  /**
   * Marks the rows that are rejected with 1. Of two that contradict each other it is the one that contradicts more others, such
   * as one with a network that is too large; both if they contradict equally many.
   * @param size how many rows there are
   */
  rejected(size: number): Uint8Array {
    const gone = new Uint8Array(size);
    for (let i = 0; i < this.count; i += 1)
      if (numberAt(this.#others, i) === THIS_NODE) gone[numberAt(this.#rows, i)] = 1;
    const degrees = new Int32Array(size);
    const isOpen = (i: number): boolean => {
      const other = numberAt(this.#others, i);
      return other !== THIS_NODE && gone[other] !== 1 && gone[numberAt(this.#rows, i)] !== 1;
    };
    for (let i = 0; i < this.count; i += 1) {
      if (!isOpen(i)) continue;
      const row = numberAt(this.#rows, i);
      const other = numberAt(this.#others, i);
      degrees[row] = (degrees[row] ?? 0) + 1;
      degrees[other] = (degrees[other] ?? 0) + 1;
    }
    const lost = gone.slice();
    for (let i = 0; i < this.count; i += 1) {
      if (!isOpen(i)) continue;
      const row = numberAt(this.#rows, i);
      const other = numberAt(this.#others, i);
      const more = (degrees[row] ?? 0) - (degrees[other] ?? 0);
      if (more >= 0) lost[row] = 1;
      if (more <= 0) lost[other] = 1;
    }
    return lost;
  }

  /** For each row one of its problems, "" for none. @param size how many rows there are */
  problems(size: number): string[] {
    const problems: string[] = [];
    while (problems.length < size) problems.push("");
    for (let i = this.count - 1; i >= 0; i -= 1) {
      const row = numberAt(this.#rows, i);
      const other = numberAt(this.#others, i);
      problems[row] = textAt(this.#problems, i);
      if (other !== THIS_NODE) problems[other] = textAt(this.#problems, i);
    }
    return problems;
  }
}
