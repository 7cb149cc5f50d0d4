/* The page's template, its script and Chart.js, as bytes in the program. */
    .section .rodata
    .global retort_page_html, retort_page_html_end, retort_page_js, retort_page_js_end, retort_chart_js, retort_chart_js_end
retort_page_html:
    .incbin RETORT_PAGE_HTML
retort_page_html_end:
    .byte 0
retort_page_js:
    .incbin RETORT_PAGE_JS
retort_page_js_end:
    .byte 0
retort_chart_js:
    .incbin RETORT_CHART_JS
retort_chart_js_end:
    .byte 0
    .section .note.GNU-stack,"",@progbits
