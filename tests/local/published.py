"""What the vendor publishes about the API (its OpenAPI description of August 2026), in a form of our own.

A field is written `name: type`, with `?` after the name where it need not be there, `|null` where it may be null, its
default after `=`, and its limits in brackets. What stands in `BY_DESIGN` is where the embedded service differs, and
why; anything else that differs is a mistake, or news.
"""

from __future__ import annotations

_SCOPE = "project_id?: uuid|null, organization_id?: uuid|null"
_PAGE = "page_size?: integer|null, page_token?: string|null"

OPERATIONS: dict[str, dict[str | int, str]] = {
    "GET /api/v1/chat": {"query": f"{_SCOPE}, {_PAGE}", 200: "SessionList", 422: "Problems"},
    "POST /api/v1/chat": {"query": _SCOPE, "body": "SessionCreate", 201: "Session", 422: "Problems"},
    "GET /api/v1/chat/{session_id}": {"query": _SCOPE, 200: "SessionDetail", 422: "Problems"},
    "DELETE /api/v1/chat/{session_id}": {"query": _SCOPE, 204: "", 422: "Problems"},
    "GET /api/v1/chat/{session_id}/summary": {"query": _SCOPE, 200: "Session", 422: "Problems"},
    "POST /api/v1/chat/{session_id}/messages/stream": {
        "query": _SCOPE,
        "body": "Prompt",
        200: "application/json",
        422: "Problems",
    },
    "GET /api/v1/indexes": {
        "query": f"{_SCOPE}, source_directory_id?: string|null, {_PAGE}",
        200: "IndexList",
        422: "Problems",
    },
    "POST /api/v1/indexes": {"query": _SCOPE, "body": "IndexCreate", 201: "Index", 422: "Problems"},
    "GET /api/v1/indexes/{index_id}": {"query": _SCOPE, 200: "Index", 422: "Problems"},
    "DELETE /api/v1/indexes/{index_id}": {"query": _SCOPE, 204: "", 422: "Problems"},
    "POST /api/v1/indexes/{index_id}/sync": {"query": _SCOPE, 202: "", 422: "Problems"},
    "GET /api/v1/beta/attachments": {"query": f"source_id: string, {_SCOPE}, {_PAGE}", 200: "Attachments"},
    "GET /api/v1/beta/attachments/{attachment_name}": {
        "query": f"source_id: string, {_SCOPE}",
        200: "PresignedUrl",
        422: "Problems",
    },
}
"""What can be asked, with which parameters, and what answers. (A cookie `session`, for the vendor's own pages, is left
out here.)"""

_USAGE = """
    total_input_tokens?: integer|null
    total_output_tokens?: integer|null
    turns?: integer = 1
    duration_ms?: number = 0.0
"""
_SESSION = """
    session_id: string
    generated_title?: string|null
    last_updated_at: string
    job_metadata?: JobMetadata|null
    index_ids?: [string]|null
"""

BODIES = {
    "SessionCreate": "index_ids?: [string](at most 10)|null",
    "Prompt": """
        index_ids: [string](at least 1)
        prompt: string(at most 1000)
    """,
    "Session": _SESSION,
    "SessionList": """
        items: [Session]
        next_page_token?: string|null
    """,
    "SessionDetail": f"""{_SESSION}
        events: [ThinkingDelta|TextDelta|Thinking|Text|ToolCall|ToolResult|Stop|UserInput]
    """,
    "JobMetadata": f"""{_USAGE}
        is_error?: boolean = false
        error?: string|null
        export_config_ids?: [string]|null
    """,
    "ThinkingDelta": 'type?: "thinking_delta"\n content: string',
    "TextDelta": 'type?: "text_delta"\n content: string',
    "Thinking": 'type?: "thinking"\n content: string',
    "Text": 'type?: "text"\n content: string',
    "UserInput": 'type?: "user_input"\n content: string',
    "ToolCall": """
        type?: "tool_call"
        arguments: object
        name: string
        call_id: string
    """,
    "ToolResult": """
        type?: "tool_result"
        name: string
        call_id: string
        result: any
        image_attachment?: ImageAttachmentRef|null
    """,
    "ImageAttachmentRef": """
        source_id: string
        attachment_name: string
    """,
    "Stop": """
        type?: "stop"
        usage: Usage
        is_error: boolean
        error: string|null
    """,
    "Usage": _USAGE,
    "IndexList": """
        items: [Index]
        next_page_token?: string|null
        total_size?: integer|null
    """,
    "Index": """
        id: string|uuid
        created_at?: date-time|null
        updated_at?: date-time|null
        name: string
        description?: string|null
        project_id: string
        source_directory_id: string
        output_directory_id: string
        sync_config_id: string
        export_config_id: string
        last_synced_at?: date-time|null
        last_exported_at?: date-time|null
        metadata?: IndexMetadata
    """,
    "IndexMetadata": "",
    "PresignedUrl": """
        url: uri(at least 1)
        expires_at: date-time
        form_fields?: object|null
    """,
    "Problems": "detail?: [Problem]",
    "Problem": """
        loc: [string|integer]
        msg: string
        type: string
        input?: any
        ctx?: object
    """,
}
"""What a request or an answer holds."""

LATER = "the SDKs have it, later or earlier than this description"
OURS = "ours alone"

BY_DESIGN = {
    "POST /api/v1/indexes": "indexes are made of `docs`",
    "DELETE /api/v1/indexes/{index_id}": "indexes are made of `docs`",
    "POST /api/v1/indexes/{index_id}/sync": "indexes are made of `docs`",
    "GET /api/v1/beta/attachments": "not offered",
    "GET /presigned/{source_id}/{attachment_name}": "where the URLs that are given out lead",
    "POST /api/v1/chat/{session_id}/messages/stream 200": "it is published as JSON, but is a stream of events",
    "GET /api/v1/chat page_size": "a page has bounds",
    "GET /api/v1/indexes page_size": "a page has bounds",
    "Prompt.prompt": "a blank prompt is refused, which the description does not say",
    "Prompt.require_all_indexes": LATER,
    "SessionCreate.shared_access": LATER,
    "Session.shared_access": LATER,
    "SessionDetail.shared_access": LATER,
    "Stop.skipped_index_ids": LATER,
    "IndexMetadata.status": "published in words: only `ready` and `failed` are stable",
    "Index.id": "ours are strings, never UUIDs",
}
"""Where the embedded service differs, and why. An entry that no longer holds is a mistake, too."""
