import tseslint from "typescript-eslint";

const clockOnly = [
  { object: "Date", property: "now", message: "Take a Clock (src/time/clock.ts)." },
  { object: "performance", property: "now", message: "Take a Clock (src/time/clock.ts)." },
  { object: "Math", property: "random", message: "Take a Clock (src/time/clock.ts)." },
];

export default tseslint.config(
  { ignores: ["dist/**", "node_modules/**", ".cache/**", ".tap/**", "**/*.js", "**/*.mjs"] },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.base],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/no-floating-promises": [
        "error",
        {
          allowForKnownSafePromises: [
            { from: "package", name: "PromiseWithSubtest", package: "@tapjs/core" },
          ],
        },
      ],
      "@typescript-eslint/no-misused-promises": "error",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/await-thenable": "error",
      "@typescript-eslint/only-throw-error": "error",
      "@typescript-eslint/switch-exhaustiveness-check": [
        "error",
        { considerDefaultExhaustiveForUnions: true },
      ],
      eqeqeq: "error",
      "prefer-const": "error",
      "no-var": "error",
    },
  },
  {
    files: ["src/**/*.ts", "control-plane/**/*.ts"],
    ignores: ["src/time/clock.ts"],
    rules: {
      "no-restricted-properties": ["error", ...clockOnly],
      "no-restricted-globals": [
        "error",
        { name: "setTimeout", message: "Take a Clock." },
        { name: "setInterval", message: "Take a Clock." },
      ],
    },
  },
);
