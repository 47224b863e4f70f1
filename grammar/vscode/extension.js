// Starts `sparsec lsp` when the first .spat file is opened, and stops it with the window.

const { window, workspace } = require("vscode");
const { LanguageClient, TransportKind } = require("vscode-languageclient/node");

let client;

async function activate() {
  const [command, ...args] = workspace.getConfiguration("sparsec").get("command");
  const server = { command, args, transport: TransportKind.stdio };
  client = new LanguageClient("sparsec", "sparsec", server, { documentSelector: [{ language: "spat" }] });
  try {
    await client.start();
  } catch (error) {
    window.showErrorMessage(
      `${[command, ...args].join(" ")} does not start: ${error.message}. ` +
        "Install it with pip install 'sparsec[lsp]', or set sparsec.command to its path."
    );
  }
}

function deactivate() {
  return client?.stop();
}

module.exports = { activate, deactivate };
