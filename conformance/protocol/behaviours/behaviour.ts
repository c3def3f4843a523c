/** A behaviour that the reference's own tests show, and the tests that show it here. */

/** A test: its file without ".test.ts", as much of the path as it needs to be one file, and its title. */
export interface Shown {
  readonly file: string;
  readonly title: string;
}

export interface Behaviour {
  readonly text: string;
  /** The tests, or why there is none. */
  readonly shown: readonly Shown[] | string;
}

export interface Area {
  readonly name: string;
  readonly behaviours: readonly Behaviour[];
}

/** A behaviour with its tests, "file: title" each. */
export function shown(text: string, ...tests: readonly string[]): Behaviour {
  return {
    text,
    shown: tests.map((test) => {
      const end = test.indexOf(": ");
      return { file: test.slice(0, end), title: test.slice(end + 2) };
    }),
  };
}

/** A behaviour that Podwire does not have. */
export function absent(text: string, why: string): Behaviour {
  return { text, shown: why };
}
