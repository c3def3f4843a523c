/**
 * Reading elements of arrays by their index. In compiled code an element that may be undefined is boxed, and so is each
 * parameter to which such an element is passed, in all calls. The results of these functions are not boxed.
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
