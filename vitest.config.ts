import { defineConfig } from "vitest/config";
import GuestReporter from "./conformance/kernels/reporter.ts";

/** How many times longer everything may take: an emulated machine is slow. */
const patience = Number(process.env.PODWIRE_PATIENCE ?? "1");
const timeouts = { testTimeout: 60_000 * patience, hookTimeout: 60_000 * patience };

/** In an emulated machine: where results are told. */
const guest = process.env.PODWIRE_GUEST;

/** What measures rates, which other work on the machine would spoil. */
const rates = "conformance/plugins/bandwidth-traffic.test.ts";

/** What runs the executables under real container runtimes. */
const clients = "conformance/clients/**/*.test.ts";

/** What is for emulated machines alone: they have no IPv6, or modules are taken from them. */
const kernels = "conformance/kernels/guest/*.test.ts";

/**
 * Four projects (`vitest --project unit`): `unit` runs the sources under Node, `conformance` runs the built executables,
 * `clients` has real container runtimes run them, and `rates` is those of them that need the machine for themselves, when
 * the others are through. In an emulated machine there is `guest` as well.
 */
export default defineConfig({
  test: {
    reporters: [
      "default",
      "./conformance/summary-reporter.ts",
      ...(guest === undefined ? [] : [new GuestReporter(guest)]),
    ],
    globalSetup: ["./conformance/machine-state.ts"],
    pool: "forks",
    /*
     * The black-box suites start thousands of processes: more workers than two only make each other's timeouts. A complete
     * run of the faults takes three: with two a fifth of the processors' time is left over.
     */
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["{lib,ipam,plugins,agent,hack}/**/*.test.ts", "conformance/kernels/*.test.ts"],
          ...timeouts,
        },
      },
      {
        extends: true,
        test: {
          name: "conformance",
          include: ["{testbed,conformance}/**/*.test.ts"],
          exclude: [rates, clients, "conformance/kernels/**"],
          ...timeouts,
        },
      },
      {
        extends: true,
        test: {
          name: "clients",
          include: [clients],
          globalSetup: ["./conformance/clients/setup.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: "rates",
          include: [rates],
          /* Another process can slow a sender down for a second. */
          retry: 1,
          sequence: { groupOrder: 1 },
          ...timeouts,
        },
      },
      ...(guest === undefined
        ? []
        : [{ extends: true as const, test: { name: "guest", include: [kernels], ...timeouts } }]),
    ],
  },
});
