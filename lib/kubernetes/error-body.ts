/** The beginning of an answer's body, for what it says of an error. Pure. */

const MAX_ERROR_BODY = 65_536;

export class ErrorBody {
  bytes = new Uint8Array(0);

  /** Adds `part[start]` to `part[end - 1]`, as far as there is room. */
  add(part: Uint8Array, start: number, end: number): void {
    const length = Math.min(end - start, MAX_ERROR_BODY - this.bytes.length);
    if (length <= 0) return;
    const joined = new Uint8Array(this.bytes.length + length);
    joined.set(this.bytes);
    joined.set(part.subarray(start, start + length), this.bytes.length);
    this.bytes = joined;
  }
}
