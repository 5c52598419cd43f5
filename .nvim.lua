-- Neovim 0.11 and later, with `:set exrc`: rust-analyzer for this workspace. With ARCH set
-- (ARCH=aarch64 nvim), for that arch. See docs/editors.md.
if not vim.lsp.config then
  vim.notify("Osier's .nvim.lua is for Neovim 0.11 and later", vim.log.levels.WARN)
  return
end

local settings = vim.json.decode([[
{
  "cargo": {
    "cfgs": ["debug_assertions", "target_os=none"],
    "features": "all",
    "targetDir": true
  },
  "check": {
    "overrideCommand": [
      "cargo", "run", "--quiet", "--package", "xtask", "--message-format", "json",
      "--target-dir", "target/rust-analyzer", "--",
      "check", "--message-format", "json"
    ]
  }
}
]])

vim.lsp.config("rust_analyzer", {
  cmd = vim.env.ARCH and { "cargo", "xtask", "rust-analyzer" } or { "rust-analyzer" },
  filetypes = { "rust" },
  root_markers = { ".nvim.lua" },
  init_options = settings,
  settings = { ["rust-analyzer"] = settings },
})
vim.lsp.enable("rust_analyzer")
