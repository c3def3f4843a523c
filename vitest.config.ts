import { defineConfig } from "vitest/config";

const timeouts = { testTimeout: 60_000, hookTimeout: 60_000 };

/** Two projects: `unit` runs the sources under Node, `conformance` runs the built executables (`vitest --project unit`). */
export default defineConfig({
  test: {
    reporters: ["default", "./conformance/summary-reporter.ts"],
    globalSetup: ["./conformance/machine-state.ts"],
    pool: "forks",
    /* The black-box suites start thousands of processes: more workers than two only make each other's timeouts. */
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["{lib,ipam,plugins,hack}/**/*.test.ts"],
          ...timeouts,
        },
      },
      {
        extends: true,
        test: {
          name: "conformance",
          include: ["conformance/**/*.test.ts"],
          ...timeouts,
        },
      },
    ],
  },
});
