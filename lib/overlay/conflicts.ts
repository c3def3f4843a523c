/** Which records of a list cannot be used together, and which of them are to go so that the others can. Pure. */
import { numberAt, textAt } from "../lists.ts";
import { THIS_NODE } from "./claims.ts";

export class Conflicts {
  readonly #rows: number[] = [];
  readonly #others: number[] = [];
  readonly #problems: string[] = [];

  get count(): number {
    return this.#rows.length;
  }

  /** Notes that two records cannot both be right. @param other THIS_NODE if what is known for certain speaks against the row */
  add(row: number, other: number, problem: string): void {
    this.#rows.push(row);
    this.#others.push(other);
    this.#problems.push(problem);
  }

  /**
   * Marks those that are not to be used: of two the one that contradicts more others, as one network that is too large
   * does; both if that does not tell.
   * @param size how many rows there are
   */
  losers(size: number): Uint8Array {
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
