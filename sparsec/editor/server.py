"""The features as a language server over stdio (LSP 3.17).  A failed request is an answer; the session goes on."""

from __future__ import annotations

import asyncio

from lsprotocol import types as lsp
from pygls import uris
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from sparsec.diagnostics import SparsecError
from sparsec.editor import completion, hover, problems, rename
from sparsec.editor.outline import outline
from sparsec.editor.positions import Lines
from sparsec.editor.scope import path_of, target
from sparsec.source import Source
from sparsec.syntax.format.text import format_text
from sparsec.syntax.read import with_line_ends

_DELAY = 0.25  # seconds without typing before a text is looked at
_KINDS = {
    "parameter": lsp.CompletionItemKind.Variable,
    "position": lsp.CompletionItemKind.Constant,
    "definition": lsp.CompletionItemKind.Function,
    "built in": lsp.CompletionItemKind.Function,
    "keyword": lsp.CompletionItemKind.Keyword,
}


class Document:
    """An open text and its places in the client's encoding."""

    def __init__(self, server: LanguageServer, uri: str) -> None:
        opened = server.workspace.get_text_document(uri)
        self.uri, self.version, self._raw = uri, opened.version, opened.source
        self.source = with_line_ends(uris.to_fs_path(uri) or uri, opened.source)
        self._encoding = str(getattr(server.workspace.position_encoding, "value", server.workspace.position_encoding))
        self._lines = self.lines_of(self.source)

    def lines_of(self, source: Source) -> Lines:
        return Lines(source.text, self._encoding or "utf-16")

    def offset(self, position: lsp.Position) -> int:
        return self._lines.offset(position.line, position.character)

    def range(self, start: int, end: int) -> lsp.Range:
        return span(self._lines, start, end)

    def edit(self, start: int, end: int, text: str) -> lsp.TextEdit:
        """With the line ends that the text has."""
        ends = text.replace("\n", "\r\n") if "\r\n" in self._raw else text
        return lsp.TextEdit(self.range(start, end), ends)


def span(lines: Lines, start: int, end: int) -> lsp.Range:
    return lsp.Range(lsp.Position(*lines.position(start)), lsp.Position(*lines.position(end)))


def make(version: str) -> LanguageServer:
    """A server that waits to be started."""
    server = LanguageServer("sparsec", version, text_document_sync_kind=lsp.TextDocumentSyncKind.Full)
    waiting: dict[str, asyncio.Task] = {}

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    @server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    async def look_soon(params: lsp.DidChangeTextDocumentParams) -> None:
        uri = params.text_document.uri
        if uri in waiting:
            waiting[uri].cancel()
        waiting[uri] = asyncio.create_task(_look(server, uri))

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def close(params: lsp.DidCloseTextDocumentParams) -> None:
        if task := waiting.pop(params.text_document.uri, None):
            task.cancel()
        server.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(params.text_document.uri, []))

    _ask(server)
    _change(server)
    return server


async def _look(server: LanguageServer, uri: str) -> None:
    await asyncio.sleep(_DELAY)
    document = Document(server, uri)
    try:
        found = [_diagnostic(document, each) for each in problems.problems(document.source)]
    except Exception as error:  # a bug of ours must not end the session
        server.window_log_message(lsp.LogMessageParams(lsp.MessageType.Error, f"sparsec: {error!r}"))
        return
    server.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, found, document.version))


def _diagnostic(document: Document, each: problems.Problem) -> lsp.Diagnostic:
    severity = lsp.DiagnosticSeverity.Error if each.severity == "error" else lsp.DiagnosticSeverity.Warning
    place = document.range(each.start, each.end)
    return lsp.Diagnostic(place, each.message, severity=severity, code=each.code, source="sparsec")


def _ask(server: LanguageServer) -> None:
    """The features that look."""

    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    def show(params: lsp.HoverParams) -> lsp.Hover | None:
        document = Document(server, params.text_document.uri)
        if found := hover.hover(document.source, document.offset(params.position)):
            text, start, end = found
            return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, text), document.range(start, end))
        return None

    @server.feature(lsp.TEXT_DOCUMENT_COMPLETION)
    def complete(params: lsp.CompletionParams) -> list[lsp.CompletionItem]:
        document = Document(server, params.text_document.uri)
        found = completion.complete(document.source, document.offset(params.position))
        return [
            lsp.CompletionItem(
                each.label,
                kind=_KINDS[each.kind],
                detail=each.detail or None,
                documentation=each.doc or None,
                sort_text=f"{index:04}",
            )
            for index, each in enumerate(found)
        ]

    @server.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    def define(params: lsp.DefinitionParams) -> lsp.Location | None:
        document = Document(server, params.text_document.uri)
        here = outline(document.source).at(document.offset(params.position))
        meant = target(document.source, here) if here else None
        if meant is None:
            return None
        own = meant.source == document.source
        uri = document.uri if own else uris.from_fs_path(str(path_of(meant.source).resolve()))
        return lsp.Location(uri, span(document.lines_of(meant.source), *meant.place))

    @server.feature(lsp.TEXT_DOCUMENT_REFERENCES)
    def refer(params: lsp.ReferenceParams) -> list[lsp.Location]:
        document = Document(server, params.text_document.uri)
        found = rename.references(document.source, document.offset(params.position))
        return [lsp.Location(document.uri, document.range(*place)) for place in found]

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def outlined(params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
        document = Document(server, params.text_document.uri)
        return [
            lsp.DocumentSymbol(
                each.named.text,
                lsp.SymbolKind.Function,
                document.range(each.start, each.end),
                document.range(each.named.start, each.named.end),
                detail=each.head,
            )
            for each in outline(document.source).definitions()
        ]


def _change(server: LanguageServer) -> None:
    """The features that edit."""

    @server.feature(lsp.TEXT_DOCUMENT_RENAME)
    def name(params: lsp.RenameParams) -> lsp.WorkspaceEdit:
        document = Document(server, params.text_document.uri)
        try:
            places = rename.rename(document.source, document.offset(params.position), params.new_name)
        except rename.Refused as error:
            raise JsonRpcException(str(error), code=lsp.LSPErrorCodes.RequestFailed) from None
        return lsp.WorkspaceEdit({document.uri: [document.edit(*place, params.new_name) for place in places]})

    @server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    def lay_out(params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
        document = Document(server, params.text_document.uri)
        try:
            text = format_text(document.source)
        except SparsecError:
            return []  # its diagnostics say why
        old = document.source.text
        return [] if text == old else [document.edit(0, len(old), text)]

    @server.feature(
        lsp.TEXT_DOCUMENT_CODE_ACTION, lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix])
    )
    def mend(params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
        document = Document(server, params.text_document.uri)
        start, end = document.offset(params.range.start), document.offset(params.range.end)
        return [
            lsp.CodeAction(
                edit.title,
                kind=lsp.CodeActionKind.QuickFix,
                diagnostics=[_diagnostic(document, each)],
                edit=lsp.WorkspaceEdit({document.uri: [document.edit(edit.start, edit.end, edit.text)]}),
            )
            for each in problems.problems(document.source)
            if each.start <= end and start <= each.end
            for edit in each.edits
        ]
