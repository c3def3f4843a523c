/**
 * Reading elements of arrays by their index. An element that may be undefined is a boxed value in compiled code, and so is
 * every parameter of a function that it is once handed to, with a test at each use; what these functions return is not.
 */

/** The element at an index; null outside of the list. */
export function itemAt<T>(list: readonly T[], index: number): T | null {
  // biome-ignore lint/style/noNonNullAssertion: the index is within the list
  return index >= 0 && index < list.length ? list[index]! : null;
}

/** The text at an index; "" outside of the list. */
export function textAt(list: readonly string[], index: number): string {
  // biome-ignore lint/style/noNonNullAssertion: the index is within the list
  return index >= 0 && index < list.length ? list[index]! : "";
}

/** The number at an index; 0 outside of the list. */
export function numberAt(list: readonly number[], index: number): number {
  // biome-ignore lint/style/noNonNullAssertion: the index is within the list
  return index >= 0 && index < list.length ? list[index]! : 0;
}
